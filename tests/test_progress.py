"""A bar on a terminal, a plain line now and then elsewhere."""

import io
import re

import pytest

from calligram.progress import Progress, describe_seconds, track


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(stream: io.StringIO, steps: int, step_s: float, **options) -> list[str]:
    clock = Clock()
    with Progress("train", stream=stream, clock=clock, **options) as progress:
        for step in range(steps):
            clock.now += step_s
            progress.advance(loss=10.0 / (step + 1), samples_per_s=812.44)
    return stream.getvalue().splitlines()


def test_a_line_after_two_seconds_then_every_ten_and_at_the_end():
    lines = run(io.StringIO(), steps=30, step_s=1.0, total=30)
    assert lines == [
        "train 2/30 6% 28.0 s left, loss 5, samples/s 812.4",
        "train 12/30 40% 18.0 s left, loss 0.8333, samples/s 812.4",
        "train 22/30 73% 8.0 s left, loss 0.4545, samples/s 812.4",
        "train 30/30 100%, loss 0.3333, samples/s 812.4, done in 30.0 s",
    ]


def test_a_short_job_is_silent_off_a_terminal():
    assert run(io.StringIO(), steps=10, step_s=0.1, total=10) == []


def test_without_a_total_the_count_is_told():
    assert run(io.StringIO(), steps=3, step_s=1.0)[0].startswith("train 2, loss")


def test_a_run_that_goes_on_counts_from_where_it_was():
    """Ten steps remain; the ninety of the earlier run took none of this run's time."""
    assert run(io.StringIO(), steps=10, step_s=2.0, total=100, start=90)[0].startswith("train 91/100 91% 18.0 s left")


def test_a_job_that_breaks_off_is_not_called_done():
    stream, clock = io.StringIO(), Clock()
    with pytest.raises(RuntimeError), Progress("train", 10, stream=stream, clock=clock) as progress:
        progress.advance()
        clock.now += 3
        raise RuntimeError
    assert stream.getvalue() == "train 1/10 10% 27.0 s left, stopped after 3.0 s\n"


def test_one_of_several_processes_speaks():
    assert run(io.StringIO(), steps=30, step_s=1.0, total=30, enabled=False) == []


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", "\n".join(run(Terminal(), steps=4, step_s=1.0, total=4)))
    assert "4/4 100%" in text
    assert "loss 2.5, samples/s 812.4" in text


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert run(Terminal(), steps=30, step_s=1.0, total=30)[-1].endswith("done in 30.0 s")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_note_has_a_line_of_its_own(stream):
    with Progress("train", 10, stream=stream) as progress:
        progress.note("wrote [step_000500]")
    assert "wrote [step_000500]\n" in stream.getvalue()


def test_track_yields_every_item_and_knows_the_total():
    stream, clock, seen = io.StringIO(), Clock(), []
    for item in track("abcd", "decode", stream=stream, clock=clock):
        clock.now += 1.5
        seen.append(item)
    assert seen == list("abcd")
    assert stream.getvalue().splitlines()[-1] == "decode 4/4 100%, done in 6.0 s"


@pytest.mark.parametrize(("seconds", "words"), [(5.06, "5.1 s"), (200.4, "3 min 20 s"), (3900, "1 h 05 min")])
def test_seconds_in_words(seconds, words):
    assert describe_seconds(seconds) == words
