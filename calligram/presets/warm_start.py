"""A run that begins with the weights of another one."""

import logging
import shutil
from pathlib import Path

import torch
from torch import nn

from calligram import runs
from calligram.errors import UserError

log = logging.getLogger(__name__)


def warm_start(model: nn.Module, init: Path) -> None:
    """Load whatever fits from the newest weights of a run; what does not is told.

    Raises UserError where nothing fits.
    """
    own, found = model.state_dict(), runs.read_weights(runs.weights(init))
    fitting = {name: x for name, x in found.items() if name in own and own[name].shape == x.shape}
    if not fitting:
        raise UserError(f"--init {init}: none of its weights fit this model; give it the same --model.* flags")
    with torch.no_grad():
        for name, x in fitting.items():
            own[name].copy_(x)
    others = {f"not in {init}": own.keys() - found.keys(), "of no use here": found.keys() - own.keys()}
    others["of another shape"] = (own.keys() & found.keys()) - fitting.keys()
    left = [f"{len(names)} {why}, such as {min(names)}" for why, names in others.items() if names]
    if left:
        log.warning(f"--init {init}: {len(fitting)} of {len(own)} tensors taken; {'; '.join(left)}")


def take_text_tokenizer(init: Path, run: Path) -> None:
    """What the weights know are the ids of the words that their own tokenizer gave them."""
    theirs, ours = init / runs.TEXT_TOKENIZER, run / runs.TEXT_TOKENIZER
    if theirs.is_file() and not ours.is_file():
        shutil.copyfile(theirs, ours)
