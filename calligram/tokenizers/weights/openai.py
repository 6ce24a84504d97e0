"""OpenAI's discrete VAE: two state dicts, of an encoder and a decoder, whose layers have a ``w`` and a ``b``."""

import re

from torch import Tensor

from calligram.errors import UserError
from calligram.tokenizers.dvae import DVAEConfig, DVAETokenizer

State = dict[str, Tensor]
HALVES = {"encoder": "encoder", "decoder": "decoder", "enc": "encoder", "dec": "decoder"}
HEAD = "encoder.blocks.output.conv.w"
IMAGE_SIZE = 256  # pixels a side, that it was trained on


def is_openai(state: State) -> bool:
    return any(name.endswith("blocks.output.conv.w") for name in state)


def from_openai(state: State, image_size: int | None) -> DVAETokenizer:
    """Both halves in one state dict, as encoder.* and decoder.*; sizes are read off the shapes. Raises UserError."""
    theirs = {_whole_half(name): x for name, x in state.items()}
    model = DVAETokenizer(_config(theirs, image_size or IMAGE_SIZE))
    try:
        model.load_state_dict({_our_name(name): x.float() for name, x in theirs.items()})
    except RuntimeError as error:
        raise UserError(f"these are no weights of OpenAI's dVAE: {' '.join(str(error).split())}") from None
    return model


def _whole_half(name: str) -> str:
    """``enc.blocks.input.w``, as some save it, → ``encoder.blocks.input.w``."""
    half, dot, rest = name.partition(".")
    return HALVES.get(half, half) + dot + rest


def _our_name(name: str) -> str:
    return re.sub(r"\.b$", ".bias", re.sub(r"\.w$", ".weight", name))


def _config(theirs: State, image_size: int) -> DVAEConfig:
    needed = ("encoder.blocks.input.w", HEAD, "decoder.blocks.input.w")
    missing = [name for name in needed if name not in theirs]
    if missing:
        raise UserError(f"these weights have no {missing[0]}: a dVAE is its encoder and its decoder, give both")
    found = [re.match(r"encoder\.blocks\.group_(\d+)\.block_(\d+)\.", name) for name in theirs]
    numbers = [(int(match[1]), int(match[2])) for match in found if match]
    return DVAEConfig(
        image_size=image_size,
        vocab_size=theirs[HEAD].shape[0],
        width=theirs[needed[0]].shape[0],
        decoder_stem=theirs[needed[2]].shape[0],
        num_groups=max((group for group, _ in numbers), default=1),
        num_blocks=max((block for _, block in numbers), default=1),
    )
