"""What a training reports of its steps: averages, speed, and where they are shown."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from calligram import runs
from calligram.errors import UserError
from calligram.progress import FieldValue, Progress
from calligram.train import distributed
from calligram.train.config import TrainConfig
from calligram.train.trackers import open_trackers
from calligram.train.watch import Findings

Batch = TypeVar("Batch")


class Metrics:
    """Averages over the steps since the last row; progress bar, ``metrics.jsonl``, trackers.

    Steps that were skipped are in no average. ``facts`` says what else belongs in a row; every process asks it at the
    same steps.
    """

    def __init__(self, run: Path, config: TrainConfig, first_step: int, facts: Callable[[], dict[str, float]] = dict):
        self.run, self.config, self.facts = run, config, facts
        self.main = distributed.is_main()
        self.progress = Progress(f"train {run.name}", config.steps, start=first_step, enabled=self.main)
        self.sums: dict[str, Tensor] = {}
        self.count = self.steps = 0
        self.since, self.waited = time.monotonic(), 0.0

    def __enter__(self) -> "Metrics":
        if self.main:
            with self._writing():
                self.run.mkdir(parents=True, exist_ok=True)
                runs.trim_metrics(self.run, self.progress.start)
                self.file = (self.run / runs.METRICS).open("a", encoding="utf-8")
                self.trackers = open_trackers(self.config.trackers, self.run, self.progress.start)
        self.progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.progress.__exit__(*error)
        if self.main:
            for file in (self.file, *self.trackers):
                with suppress(OSError):  # a full disk has been told of by then
                    file.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.run} cannot be written ({error.strerror}): make room, or make the folder writable, and go on "
                f"with --resume; its checkpoints are as they were"
            ) from None

    def waiting(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, and how long each was waited for."""
        iterator = iter(batches)
        while True:
            start = time.monotonic()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self.waited += time.monotonic() - start
            yield batch

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done within it is no training, and does not count for its speed."""
        start = time.monotonic()
        yield
        self.since += time.monotonic() - start

    def update(
        self,
        done: int,
        values: dict[str, Tensor] | None,
        lr: float,
        findings: Findings | None = None,
        flush: bool = False,
    ) -> None:
        """After each step, the number of which is ``done``; without values where it was skipped."""
        self.steps += 1
        if values is not None:
            for name, value in values.items():
                self.sums[name] = self.sums.get(name, 0) + value
            self.count += 1
        due = flush or done % self.config.log_every == 0
        self.progress.advance(**(self._flush(done, lr, findings or Findings()) if due else {}))

    def _flush(self, step: int, lr: float, findings: Findings) -> dict[str, FieldValue]:
        row = {name: float(distributed.mean(total / self.count)) for name, total in self.sums.items()}
        row = {name: value for name, value in row.items() if math.isfinite(value)}  # JSON has no others
        seconds = max(1e-9, time.monotonic() - self.since)
        row |= {"lr": lr, "samples_per_s": self.steps * self.config.batch_size / seconds}
        row |= {"data_wait": self.waited / seconds, **self.facts(), **findings.numbers}
        if self.main:
            with self._writing():
                self.file.write(json.dumps({"step": step, **row}) + "\n")
                self.file.flush()
                self._show(findings, step)
                for tracker in self.trackers:
                    tracker.log(step, row, findings.pictures)
        self.sums, self.count, self.steps = {}, 0, 0
        self.since, self.waited = time.monotonic(), 0.0
        shown: dict[str, FieldValue] = {name: row[name] for name in ("loss", "samples_per_s") if name in row}
        return shown | {"data wait": f"{100 * row['data_wait']:.0f}%"}

    def _show(self, findings: Findings, step: int) -> None:
        for name, picture in findings.pictures.items():
            path = self.run / runs.SAMPLES / f"{name}_{step:06d}.png"
            path.parent.mkdir(exist_ok=True)
            picture.save(path)
        if findings.numbers:
            told = {name.partition(".")[2]: value for name, value in findings.numbers.items()}  # the kind is known
            found = ", ".join(f"{name} {value:.4g}" for name, value in told.items() if "num_samples" not in name)
            self.progress.note(f"step {step}: {found}")
