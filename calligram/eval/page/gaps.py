"""What was not measured, and why."""

from dataclasses import dataclass

from calligram.eval.page.schema import Results


@dataclass(frozen=True)
class Gap:
    """A task that failed, or was skipped, for a model, with the same reason on these data sets."""

    status: str
    task: str
    model: str
    data: tuple[str, ...]
    reason: str


def gaps(results: Results) -> list[Gap]:
    """Failures first, for these are to be looked at."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for cell in results.cells:
        if cell.status != "done":
            found.setdefault((cell.status, cell.task, cell.model, cell.reason or "no reason given"), []).append(
                cell.data
            )
    listed = [Gap(status, task, model, tuple(data), reason) for (status, task, model, reason), data in found.items()]
    return sorted(listed, key=lambda gap: gap.status)  # "failed" before "skipped"; else in the order of the cells
