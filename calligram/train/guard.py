"""Steps whose gradient is no number are skipped and counted; many in a row end the training with a report."""

import logging
import math
from typing import Any

import torch
from torch import Tensor, nn

from calligram.errors import UserError

log = logging.getLogger(__name__)


class Guard:
    """Says whether a step may be taken, and undoes what its forward pass left behind where it may not.

    The gradient's norm is that of all processes, so that all decide alike.
    """

    def __init__(self, model: nn.Module, max_in_a_row: int):
        self.max_in_a_row = max_in_a_row
        self.skipped = self.in_a_row = 0
        # running statistics of a BatchNorm would be no numbers from then on
        self.statistics = list(model.buffers())
        self.before = [x.clone() for x in self.statistics]

    def remember(self) -> None:
        """Before a forward pass."""
        if self.statistics:
            torch._foreach_copy_(self.before, self.statistics)  # pyright: ignore[reportPrivateImportUsage]

    def allows(self, norm: Tensor, done: int, lr: float) -> bool:
        """Raises UserError where too many steps in a row are bad; ``done`` is the step's number, from 1."""
        value = float(norm)
        if math.isfinite(value):
            self.in_a_row = 0
            return True
        self.skipped += 1
        self.in_a_row += 1
        if self.statistics:
            torch._foreach_copy_(self.statistics, self.before)  # pyright: ignore[reportPrivateImportUsage]
        log.warning(f"step {done} skipped: the norm of its gradient is {value}")
        if self.in_a_row >= self.max_in_a_row:
            raise UserError(
                f"{self.in_a_row} steps in a row, {done - self.in_a_row + 1} to {done}, had a gradient that is no "
                f"number ({self.skipped} in all): try a lower --train.lr than {lr:g}, fp32 instead of "
                f"another --train.precision, or `calligram data verify` on the data; --resume goes on from the last "
                f"checkpoint"
            )
        return False

    def facts(self) -> dict[str, float]:
        """For the metrics."""
        return {"skipped_steps": self.skipped} if self.skipped else {}

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self.in_a_row = int(state_dict["skipped"]), int(state_dict["in_a_row"])
