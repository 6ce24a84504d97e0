"""A model as the sampler runs it: its matrices in another precision, its passes in C."""

import logging
from copy import deepcopy

import torch
from torch import Tensor, nn

from calligram.dalle.fast import FastDalle, misfit_of
from calligram.dalle.model import Dalle
from calligram.dalle.sampling.config import SamplingConfig, Weights
from calligram.dalle.sampling.reading import Reader
from calligram.nn.native.weights import Precision, rounded

log = logging.getLogger(__name__)

PRECISION: dict[Weights, Precision] = {"same": "fp32", "bf16": "bf16", "int8": "int8"}

# the last one that was made, since a program tends to draw with one model again and again
_last: list[tuple[tuple, Dalle, Reader]] = []


def prepared(model: Dalle, config: SamplingConfig) -> Reader:
    """What stands for the model with this config; the model itself stays as it is.

    Made anew when a weight has changed. Where there is no fast step, one line says why and the plain one is taken.
    """
    if config.weights == "same" and config.step == "plain":
        return model
    key = (config.weights, config.step, *(_state(x) for x in model.parameters()))
    if not (_last and _last[0][1] is model and _last[0][0] == key):
        _last[:] = [(key, model, _prepare(model, config))]
    return _last[0][2]


def _state(x: Tensor) -> tuple[int, int]:
    """Changes whenever a weight does; what was made in inference mode is not counted, and never changes."""
    return x.data_ptr(), 0 if x.is_inference() else x._version


def _prepare(model: Dalle, config: SamplingConfig) -> Reader:
    precision = PRECISION[config.weights]
    model = with_rounded_weights(model, precision)
    if config.step == "plain":
        return model
    if why_not := misfit_of(model):
        log.warning("no fast step for this model, the plain one draws: %s", why_not)
        return model
    return FastDalle(model, precision)


@torch.inference_mode(False)
def with_rounded_weights(model: Dalle, precision: Precision) -> Dalle:
    """A copy that computes with what is left of its matrices in another precision; the model itself for fp32.

    The table of image tokens is one of them: where it is the head, too, it is read by every step.
    """
    if precision == "fp32":
        return model
    model = deepcopy(model).requires_grad_(False)
    for module in model.transformer.modules():
        if isinstance(module, nn.Linear):
            _round(module.weight, precision)
    _round(model.image_embed.weight if model.image_head is None else model.image_head, precision)
    return model


def _round(weight: Tensor, precision: Precision) -> None:
    with torch.no_grad():
        weight.copy_(rounded(weight, precision))
