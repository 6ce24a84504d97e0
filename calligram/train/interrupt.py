"""SIGTERM and SIGUSR1, by which clusters say that a job has to go: save, and leave with a status of one's own."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from calligram.train import distributed

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupt:
    """Remembers a signal until the step is done; once any process has one, all of them stop at the same step."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def is_due(self) -> bool:
        """Asked by every process at the same steps."""
        return bool(distributed.sum_up([int(self.signal is not None)])[0])

    @contextmanager
    def listening(self) -> Iterator[None]:
        def remember(number: int, _: FrameType | None) -> None:
            self.signal = number

        try:
            before = {number: signal.signal(number, remember) for number in SIGNALS}
        except ValueError:  # not in the main thread: whoever runs this there has handlers of its own
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
