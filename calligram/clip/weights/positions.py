"""Learned positions of pictures, for weights that were trained on another size."""

from torch import nn

from calligram.clip.weights.layout import State
from calligram.errors import UserError
from calligram.nn.positions import resize_positions

TABLES = ("visual.positions", "visual.attnpool.positions")


def fit_positions(state: State, model: nn.Module) -> State:
    """The state with its tables of positions interpolated to the grid of this model's pictures."""
    own = model.state_dict()
    fitted = dict(state)
    for name in TABLES:
        # another width is another model: whoever loads it says so
        if name in own and name in state and own[name].shape[1:] == state[name].shape[1:]:
            try:
                fitted[name] = resize_positions(state[name], len(own[name]))
            except ValueError as error:
                raise UserError(f"{name} cannot be made to fit another size of picture: {error}") from None
    return fitted
