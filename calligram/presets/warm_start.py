"""A run that begins with the weights of another one, or of a model of others."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from calligram import runs
from calligram.clip.load import read_model_config
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.weights.positions import fit_positions
from calligram.clip.weights.source import ActivationUnknown, is_foreign, open_source
from calligram.errors import UserError
from calligram.tokenizers.text import TextTokenizer

# of a tower and of its Transformer
UNSEEN = ("activation", "num_heads", "norm_eps", "causal", "pool", "positions", "ragged")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a run begins: weights by name, words, and what else has to be the same where it is a CLIP."""

    init: Path
    weights: dict[str, Tensor]
    words: TextTokenizer | None
    config: ClipConfig | None = None

    def give_words(self, run: Path) -> None:
        """What the weights know are the ids of the words that their own tokenizer gave them."""
        ours = run / runs.TEXT_TOKENIZER
        if self.words is not None and not ours.is_file():
            self.words.save(ours)


def find_origin(init: Path, kind: str) -> Origin:
    """The newest weights of a run of that kind, or for a CLIP any model that ``calligram convert`` takes.

    Raises UserError where there is none.
    """
    if kind == "clip" and is_foreign(init):
        try:
            found = open_source(init)
        except ActivationUnknown:
            raise UserError(
                f"--init {init} does not say which activation it was trained with: make it a run by `calligram "
                f"convert {init} --activation gelu --out RUN`, or quick_gelu, and name that"
            ) from None
        return Origin(init, found.state, found.tokenizer, found.config)
    runs.read_config(init, kind)
    words = init / runs.TEXT_TOKENIZER
    return Origin(
        init,
        runs.read_weights(runs.weights(init)),
        TextTokenizer.load(words) if words.is_file() else None,
        read_model_config(init) if kind == "clip" else None,
    )


def warm_start(model: nn.Module, origin: Origin) -> None:
    """Load whatever fits; what does not is told. Raises UserError where nothing fits."""
    own, found, init = model.state_dict(), origin.weights, origin.init
    if isinstance(model, Clip) and origin.config is not None:
        found = fit_positions(found, model)
        tell_differences(model.config, origin.config, init)
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
