"""The sentences of an evaluation's page: what was measured, when, with what, and how to read it."""

from datetime import datetime

from calligram.eval.page.schema import Results

LEVEL = 0.95  # of the intervals; calligram.eval.estimate's, which would bring torch along


INTERVAL = (
    f"The {100 * LEVEL:g}\u00a0% bootstrap interval tells how far the same models could have come out otherwise on as "
    "many other samples of the same kind: where the intervals of two models overlap widely, their order may be chance."
)
DIRECTION = "↑ more is better, ↓ less is better, "
READ_MARKDOWN = f"{DIRECTION}**bold** is the best of its row, n counts the samples. {INTERVAL}"
READ_PAGE = (
    f"{DIRECTION}bold is the best of its row, n counts the samples, below a value stands its interval. {INTERVAL}"
)

SHOWN = ("calligram", "torch")  # of the versions; all of them stand at the end


def summary(results: Results) -> str:
    """Names, date, versions and machine in two sentences."""
    what = f"{number_of(len(results.model_names), 'model')} on {number_of(len(results.data_names), 'data set')}"
    known = [f"{name} {version}" for name, version in results.versions.items() if version and name in SHOWN]
    parts = [
        f"{what}, {number_of(len(results.task_names), 'task')}",
        date(results.started),
        f"took {duration(results.seconds)}" if results.seconds is not None else "",
    ]
    made = ", ".join([*known, *filter(None, [results.machine])])
    return ", ".join(filter(None, parts)) + "." + (f" Measured with {made}." if made else "")


def number_of(count: int, name: str) -> str:
    return f"{count:,} {name}" + ("" if count == 1 else "s")


def date(iso: str | None) -> str:
    """``23 November 2026``; what is no date is shown as it stands."""
    try:
        when = datetime.fromisoformat(iso or "")
    except ValueError:
        return iso or ""
    return f"{when.day} {when:%B %Y}"


def duration(seconds: float | None) -> str:
    """``13 min 32 s``"""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    pieces = [
        f"{hours}\u00a0h" if hours else "",
        f"{minutes}\u00a0min" if minutes else "",
        f"{rest}\u00a0s" if rest and not hours else "",
    ]
    return " ".join(filter(None, pieces)) or "0\u00a0s"
