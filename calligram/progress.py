"""How far a long job has come: a bar on a terminal, a plain line now and then elsewhere; always on stderr."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, Self, TextIO, TypeVar

FIRST_LINE_S = 2.0  # a shorter job stays silent where there is no terminal
NEXT_LINE_S = 10.0
REDRAW_S = 0.25

_hidden: ContextVar[bool] = ContextVar("hidden", default=False)
Item = TypeVar("Item")
FieldValue = str | int | float


def track(items: Iterable[Item], description: str, total: int | None = None, **options: Any) -> Iterator[Item]:
    """Yields the items and shows how far it is: ``for sample in track(samples, "decode"): ...``.

    ``total`` is the number of items, taken from ``len(items)`` where that exists. ``options`` are Progress's.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(description, total, **options) as progress:
        for item in items:
            yield item
            progress.advance()


@contextmanager
def hidden() -> Iterator[None]:
    """Within it no progress is shown: for a short job that runs in the middle of a long one, which has the bar."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


class Progress:
    """For a loop that has more to tell than its count.

    ::

        with Progress("train", total=4000) as progress:
            progress.advance(loss=2.31, samples_per_s=812.0)  # shown as: loss 2.31, samples/s 812

    ``start`` is what an earlier run had already done; ``enabled=False`` shows nothing, for all but one of
    several processes.
    """

    def __init__(
        self,
        description: str,
        total: int | None = None,
        *,
        start: int = 0,
        enabled: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description, self.total, self.start, self.done = description, total, start, start
        self.fields: dict[str, FieldValue] = {}
        self.clock = clock
        self.started_at = clock()
        self._view = _choose_view(stream or sys.stderr, enabled and not _hidden.get())

    def __enter__(self) -> Self:
        self.started_at = self.clock()
        self._view.open(self)
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        self._view.close(self, finished=error_type is None)

    def advance(self, count: int = 1, /, **fields: FieldValue) -> None:
        """``count`` more are done. Fields stay on show until they are given anew."""
        self.done += count
        self.fields.update(fields)
        self._view.update(self)

    def note(self, text: str) -> None:
        """Prints a line of its own without breaking the bar."""
        self._view.note(text)

    @property
    def elapsed_s(self) -> float:
        return self.clock() - self.started_at

    @property
    def remaining_s(self) -> float | None:
        """From the mean speed so far; None where nothing is done yet or the total is unknown."""
        done_here = self.done - self.start
        if self.total is None or done_here == 0:
            return None
        return max(self.total - self.done, 0) * self.elapsed_s / done_here

    def summary(self) -> str:
        """``train 1200/4000 30% 12.5 s left, loss 2.31``."""
        return ", ".join(filter(None, [f"{self.description} {self._count()}", describe_fields(self.fields)]))

    def _count(self) -> str:
        if self.total is None:
            return f"{self.done}"
        percent = 100 * self.done // self.total if self.total else 100
        left = self.remaining_s
        return f"{self.done}/{self.total} {percent}%" + (f" {describe_seconds(left)} left" if left else "")


def describe_seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def describe_fields(fields: dict[str, FieldValue]) -> str:
    """``samples_per_s=812.4`` → ``samples/s 812``: four digits are enough to watch by."""
    texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in fields.items()}
    return ", ".join(f"{name.replace('_per_', '/').replace('_', ' ')} {text}" for name, text in texts.items())


class _View(Protocol):
    def open(self, progress: Progress) -> None: ...
    def update(self, progress: Progress) -> None: ...
    def close(self, progress: Progress, finished: bool) -> None: ...
    def note(self, text: str) -> None: ...


def _choose_view(stream: TextIO, enabled: bool) -> _View:
    if not enabled:
        return _Silence()
    if stream.isatty() and os.environ.get("TERM") != "dumb":
        return _Bar(stream)
    return _Lines(stream)


class _Silence:
    def open(self, progress: Progress) -> None:
        pass

    def update(self, progress: Progress) -> None:
        pass

    def close(self, progress: Progress, finished: bool) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Lines:
    """A line after two seconds, then one every ten, and one at the end."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.next_line_s = FIRST_LINE_S

    def open(self, progress: Progress) -> None:
        self.next_line_s = FIRST_LINE_S

    def update(self, progress: Progress) -> None:
        elapsed_s = progress.elapsed_s
        if elapsed_s >= self.next_line_s and progress.done != progress.total:  # the last line is close()'s
            self.next_line_s = elapsed_s + NEXT_LINE_S
            self.note(progress.summary())

    def close(self, progress: Progress, finished: bool) -> None:
        if progress.elapsed_s >= FIRST_LINE_S:
            end = "done in" if finished else "stopped after"
            self.note(f"{progress.summary()}, {end} {describe_seconds(progress.elapsed_s)}")

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class _Bar:
    """rich's bar, redrawn by hand: a thread that redraws would be forked into the loader's workers."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[extra]}", markup=False),
        ]
        # stdout is left alone: it carries results, and may go elsewhere than the bar
        self.bar = RichProgress(*columns, console=Console(file=stream), auto_refresh=False, redirect_stdout=False)
        self.next_redraw_s = 0.0

    def open(self, progress: Progress) -> None:
        self.task = self.bar.add_task(progress.description, total=progress.total, completed=progress.start, extra="")
        self.bar.start()

    def update(self, progress: Progress) -> None:
        if progress.elapsed_s >= self.next_redraw_s:
            self.next_redraw_s = progress.elapsed_s + REDRAW_S
            self._draw(progress)

    def close(self, progress: Progress, finished: bool) -> None:
        self._draw(progress)
        self.bar.stop()

    def note(self, text: str) -> None:
        self.bar.console.print(text, markup=False, highlight=False)

    def _draw(self, progress: Progress) -> None:
        self.bar.update(self.task, completed=progress.done, extra=describe_fields(progress.fields))
        self.bar.refresh()
