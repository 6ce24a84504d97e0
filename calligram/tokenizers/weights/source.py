"""Where an image tokenizer of others lies → the tokenizer.

| Place | What it is |
|---|---|
| a folder with ``encoder`` and ``decoder`` | OpenAI's dVAE as two state dicts, .safetensors, .pt, .pth, .bin or .pkl |
| a file with encoder.blocks.* and decoder.blocks.* | the same in one |
| a file and a config | a VQGAN of taming-transformers: .ckpt, .safetensors, ... and its .yaml or .json |
"""

from pathlib import Path

from calligram.errors import UserError
from calligram.files import read_tensors
from calligram.tokenizers.base import ImageTokenizer
from calligram.tokenizers.weights.openai import State, from_openai, is_openai
from calligram.tokenizers.weights.taming import from_taming, is_taming, read_config

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".pkl")


def open_image_tokenizer(
    source: Path, config: Path | None = None, image_size: int | None = None
) -> ImageTokenizer | None:
    """None where there is none, but perhaps another model. Raises UserError where one cannot be read.

    ``image_size`` is that of the pictures it will be used for, in pixels, unless it is the one of its training.
    """
    state = _read(source, must=config is not None or source.suffix == ".ckpt")
    if state is None:
        return None
    if is_openai(state):
        if config is not None:
            raise UserError(f"{source} is OpenAI's dVAE, whose size its weights tell: leave out --config {config}")
        return from_openai(state, image_size).eval()
    if is_taming(state):
        if config is None:
            raise UserError(f"{source} is a VQGAN: give the .yaml or .json that lies beside it as --config")
        return from_taming(state, read_config(config), image_size).eval()
    if config is not None:
        raise UserError(f"{source} is no image tokenizer that is known here: a VQGAN of taming-transformers, or a dVAE")
    return None


def _read(source: Path, must: bool) -> State | None:
    if source.is_dir():
        halves = {half: _file(source, half) for half in ("encoder", "decoder")}
        found = {half: path for half, path in halves.items() if path is not None}
        if len(found) < 2:
            return None
        return {f"{half}.{name}": x for half, path in found.items() for name, x in read_tensors(path).items()}
    if not source.is_file():
        return None
    try:
        return read_tensors(source)
    except UserError:
        if must:
            raise
        return None  # such as an archive of OpenAI's CLIP


def _file(folder: Path, name: str) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()), None)
