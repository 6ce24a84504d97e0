"""A CLIP by the word that a person has for it, a run's folder or a model of others; and a folder to keep it in."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save_file

from calligram import runs
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.weights.positions import fit_positions
from calligram.clip.weights.source import is_foreign, open_source
from calligram.errors import UserError
from calligram.nn.transformer import Activation
from calligram.tokenizers.text import TextTokenizer

TYPE = "clip"


class SavedClip(BaseModel):
    """What is needed of ``config.json`` to rebuild a CLIP."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: ClipConfig


def load_model(
    source: Path | str,
    image_size: int | None = None,
    activation: Activation | None = None,
    native: int | None = None,
) -> tuple[Clip, TextTokenizer]:
    """See :func:`calligram.clip.zero_shot.load_clip`."""
    if is_foreign(source):
        foreign = open_source(source, activation)
        config, tokenizer, state = foreign.config, foreign.tokenizer, foreign.state
    else:
        run = Path(source)
        config = read_model_config(run)
        if activation is not None:
            raise UserError(f"{run} says itself which activation it has: leave {activation} out")
        path = runs.weights(run)
        tokenizer, state = TextTokenizer.load(run / runs.TEXT_TOKENIZER), runs.read_weights(path)
    if image_size is not None:
        config = _changed(config, "image_size", image_size)
    if native is not None:
        changed = {**config.preprocess.model_dump(), "resize": "native", "max_patches": native}
        config = _changed(config, "preprocess", changed)
    model = Clip(config.without_download(), tokenizer.vocab_size, tokenizer.end_id)
    state = fit_positions(state, model) if image_size is not None else state
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{source} does not fit the model of its config: {' '.join(str(error).split())}") from None
    return model, tokenizer


def read_model_config(run: Path) -> ClipConfig:
    """The model of a CLIP run."""
    try:
        return SavedClip.model_validate(runs.read_config(run, TYPE)).model
    except ValidationError as error:
        raise UserError(f"{run / runs.CONFIG} does not describe a CLIP: {error.errors()[0]['msg']}") from None


def _changed(config: ClipConfig, name: str, value: Any) -> ClipConfig:
    try:
        return ClipConfig.model_validate({**config.model_dump(), name: value})
    except ValidationError as error:
        raise UserError(f"{name} {value}: {error.errors()[0]['msg']}") from None


def save_model(model: Clip, tokenizer: TextTokenizer, folder: Path) -> None:
    """A plain folder that every verb reads as a run, and a training as ``--init``."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty: choose another")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder / runs.TEXT_TOKENIZER)
    state = {name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
    save_file(state, folder / runs.MODEL)
    # last: with its config a folder counts as a run
    runs.write_config(folder, {"type": TYPE, "model": model.config.model_dump(mode="json")})
