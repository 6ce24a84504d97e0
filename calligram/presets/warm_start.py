"""A run that begins with the weights of another one."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from calligram import runs
from calligram.clip.load import read_model_config
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.weights.positions import fit_positions
from calligram.errors import UserError

# of a tower and of its Transformer
UNSEEN = ("activation", "num_heads", "norm_eps", "causal", "pool", "positions", "ragged")

log = logging.getLogger(__name__)


def warm_start(model: nn.Module, init: Path) -> None:
    """Load whatever fits from the newest weights of a run; what does not is told.

    Raises UserError where nothing fits.
    """
    own, found = model.state_dict(), runs.read_weights(runs.weights(init))
    if isinstance(model, Clip):
        found = fit_positions(found, model)
        tell_differences(model.config, read_model_config(init), init)
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


def tell_differences(config: ClipConfig, before: ClipConfig, init: Path) -> None:
    """Warn of what no shape of a tensor shows, but its values depend on."""
    found = [
        f"{part}.{name} is {json.dumps(now.get(name))}, and was {json.dumps(then.get(name))}"
        for part in ("image", "text")
        for now, then in [(_flat(getattr(config, part)), _flat(getattr(before, part)))]
        for name in UNSEEN
        if name in now and name in then and now[name] != then[name]
    ]
    found += [
        f"{name} is {getattr(config, name)}, and was {getattr(before, name)}"
        for name in ("mean", "std")
        if getattr(config, name) != getattr(before, name)
    ]
    if found:
        log.warning(f"--init {init}: its weights were trained otherwise: {'; '.join(found)}")


def _flat(tower: BaseModel) -> dict[str, Any]:
    fields = tower.model_dump(mode="json")
    return {**fields, **fields.get("transformer", {})}


def take_text_tokenizer(init: Path, run: Path) -> None:
    """What the weights know are the ids of the words that their own tokenizer gave them."""
    theirs, ours = init / runs.TEXT_TOKENIZER, run / runs.TEXT_TOKENIZER
    if theirs.is_file() and not ours.is_file():
        shutil.copyfile(theirs, ours)
