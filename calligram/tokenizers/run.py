"""Image tokenizers as they lie on disk: a config and weights, alone or inside the run of a DALL-E."""

import hashlib
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from calligram import runs
from calligram.errors import UserError
from calligram.files import save_tensors
from calligram.tokenizers.image import ImageTokenizer, ImageTokenizerConfig, build_image_tokenizer

TYPE = "tokenizer"


class SavedTokenizer(BaseModel):
    """What is needed of ``config.json`` to rebuild an image tokenizer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: ImageTokenizerConfig


def load_tokenizer(run: Path | str, device: torch.device | str = "cpu") -> ImageTokenizer:
    """The image tokenizer of a run or model folder, ready to encode and decode."""
    run = Path(run)
    try:
        config = SavedTokenizer.model_validate(runs.read_config(run, TYPE))
    except ValidationError as error:
        raise UserError(
            f"{run / runs.CONFIG} does not describe an image tokenizer: {error.errors()[0]['msg']}"
        ) from None
    model = build_image_tokenizer(config.model)
    runs.load_weights(model, runs.weights(run))
    return model.to(device).eval()


def save_tokenizer(model: ImageTokenizer, folder: Path) -> None:
    """A model folder: config and weights and nothing else."""
    runs.write_config(folder, {"type": TYPE, "model": model.config.model_dump(mode="json")})
    aside = folder / f".{runs.MODEL}.partial"
    save_tensors({name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}, aside)
    aside.replace(folder / runs.MODEL)


def fingerprint(model: ImageTokenizer) -> str:
    """16 hex digits that change with the config or any weight: the key of pre-computed tokens."""
    digest = hashlib.sha256(model.config.model_dump_json().encode())
    for name, x in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(x.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
