"""Two evaluations side by side: what is joined, how wide the interval of a difference is, what is marked."""

import json
import math

import pytest

from calligram.errors import UserError
from calligram.eval.compare import compare, read_results, warnings


def row(metric: str, value: float, half: float | None = None, model: str = "m", data: str = "d") -> dict:
    low, high = (None, None) if half is None else (value - half, value + half)
    return {"model": model, "data": data, "task": "t", "metric": metric, "value": value, "low": low, "high": high}


def results(*rows: dict, digest: str = "x", **config: int) -> dict:
    names = dict.fromkeys(each["data"] for each in rows)
    return {"rows": list(rows), "data": [{"name": name, "digest": digest} for name in names], "config": config}


def test_the_interval_of_a_difference_is_the_root_of_the_sum_of_squares():
    (found,), _, _ = compare(results(row("clip.a", 0.5, 0.03)), results(row("clip.a", 0.56, 0.04)))
    assert found.difference == pytest.approx(0.06)
    assert (found.low, found.high) == pytest.approx((0.01, 0.11)) and found.differs is True
    (found,), _, _ = compare(results(row("clip.a", 0.5, 0.06)), results(row("clip.a", 0.56, 0.08)))
    assert found.low == pytest.approx(-0.04) and found.differs is False


def test_it_covers_the_true_difference_as_often_as_it_says():
    """Of independent normal measurements, drawn many times."""
    import numpy as np

    rng = np.random.default_rng(0)
    scales, hits = (0.02, 0.05), 0
    for a, b in rng.normal((0.4, 0.5), scales, (2000, 2)):
        sides = [results(row("m", value, 1.96 * scale)) for value, scale in zip((a, b), scales, strict=True)]
        (found,), _, _ = compare(*sides)
        assert found.low is not None and found.high is not None
        hits += found.low <= 0.1 <= found.high
    assert hits / 2000 == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / 2000))


def test_one_model_and_one_data_set_on_each_side_are_compared_whatever_their_names():
    (found,), only_a, only_b = compare(
        results(row("a", 1.0, model="old", data="x"), row("b", 2.0, model="old", data="x")),
        results(row("a", 3.0, model="new", data="y")),
    )
    assert (found.model, found.data, found.difference, found.low, found.differs) == (
        "old → new",
        "x → y",
        2,
        None,
        None,
    )
    assert (only_a, only_b) == (1, 0)


def test_of_several_models_those_of_the_same_name_are_compared():
    a = results(row("a", 1.0, model="m"), row("a", 5.0, model="n"))
    b = results(row("a", 3.0, model="n"), row("a", 2.0, model="o"))
    found, only_a, only_b = compare(a, b)
    assert [(each.model, each.difference) for each in found] == [("n", -2.0)] and (only_a, only_b) == (1, 1)
    with pytest.raises(UserError, match="nothing is in common: m, n on d on one side, o on d, e on the other"):
        compare(a, results(row("a", 2.0, model="o"), row("a", 2.0, model="o", data="e")))


def test_what_was_not_measured_alike_is_told():
    a, b = results(row("a", 1.0), digest="x", seed=0), results(row("a", 1.0), digest="y", seed=1)
    assert warnings(a, b) == ["not the same data: d differs by its digest", "not measured alike: seed 0 against 1"]
    assert warnings(a, a) == []


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"rows": [{"metric": 1}]}', '{"clip.zero_shot.top1": 0.5}'])
def test_what_is_no_evaluation_is_told(content, tmp_path):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match="is not what `calligram evaluate --out DIR` writes"):
        read_results(tmp_path)
    with pytest.raises(UserError, match=r"has no results\.json"):
        read_results(tmp_path / "nowhere")


def test_a_folder_and_its_file_are_the_same(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results(row("a", 1.0))))
    assert read_results(tmp_path) == read_results(tmp_path / "results.json") == results(row("a", 1.0))
