"""Distances between sets of features: those of torchmetrics and torch-fidelity, or of plain loops, on the same sets."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calligram.eval.distances.cmmd import SIGMA, cmmd
from calligram.eval.distances.frechet import fid, frechet
from calligram.eval.distances.kid import kid, polynomial_mmd
from calligram.eval.distances.manifold import precision_recall, radii


def sets(num_drawn: int = 60, num_real: int = 80, width: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Correlated features of two overlapping sources."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=generator)
    drawn = torch.randn(num_drawn, width, generator=generator) @ mix * 0.8 + 0.5
    return drawn, torch.randn(num_real, width, generator=generator) @ mix


class AsTheyAre(nn.Module):
    """What torchmetrics takes for a network: features in, features out."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(("num_drawn", "width"), [(60, 12), (20, 40)])  # also fewer pictures than features
def test_fid_is_that_of_torchmetrics(num_drawn, width):
    from torchmetrics.image.fid import FrechetInceptionDistance

    drawn, real = sets(num_drawn, width=width)
    theirs = FrechetInceptionDistance(feature=AsTheyAre(width))
    theirs.set_dtype(torch.float64)
    theirs.update(real.double(), real=True)
    theirs.update(drawn.double(), real=False)
    assert frechet(drawn, real) == pytest.approx(theirs.compute().item(), rel=1e-3)
    assert frechet(real, real) == pytest.approx(0, abs=1e-3)


def test_fid_of_normal_distributions_is_the_formula():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(200_000, 1, generator=generator) * scale + shift for scale, shift in ((1, 0), (3, 2)))
    assert frechet(a, b) == pytest.approx(2**2 + (3 - 1) ** 2, rel=0.02)


def test_the_interval_of_fid_is_about_as_wide_as_fids_of_new_sets_differ():
    found = [fid(*sets(seed=seed)) for seed in range(12)]
    values = np.array([each.value for each in found])
    # the mean and the mix differ between seeds, too: the same source, drawn anew
    drawn, real = sets(12 * 60, 12 * 80)
    anew = [frechet(drawn[i::12], real[i::12]) for i in range(12)]
    width = fid(drawn[::12], real[::12]).high - fid(drawn[::12], real[::12]).low
    assert 0.3 < width / (2 * 1.96 * np.std(anew, ddof=1)) < 3
    assert all(each.low <= value <= each.high for each, value in zip(found, values, strict=True))


def test_a_covariance_needs_two():
    with pytest.raises(ValueError, match="two pictures"):
        frechet(torch.zeros(1, 3), torch.zeros(5, 3))


def test_kid_is_that_of_torchmetrics():
    from torchmetrics.image.kid import KernelInceptionDistance, poly_mmd

    drawn, real = sets(width=64)
    drawn, real = drawn / 8, real / 8
    assert polynomial_mmd(drawn.double(), real[:60].double()) == pytest.approx(
        poly_mmd(real[:60].double(), drawn.double()).item(), rel=1e-6
    )
    theirs = KernelInceptionDistance(feature=AsTheyAre(64), subsets=200, subset_size=30)
    theirs.set_dtype(torch.float64)
    theirs.update(real.double(), real=True)
    theirs.update(drawn.double(), real=False)
    torch.manual_seed(0)
    np.random.seed(0)
    mean, deviation = (x.item() for x in theirs.compute())
    assert kid(drawn, real).value == pytest.approx(mean, abs=4 * deviation / math.sqrt(100))


def test_kid_of_one_source_is_about_zero_and_its_interval_says_so():
    generator = torch.Generator().manual_seed(0)
    inside = 0
    for _ in range(20):
        found = kid(torch.randn(40, 4, generator=generator), torch.randn(40, 4, generator=generator))
        inside += found.low <= 0 <= found.high
    assert inside >= 15
    with pytest.raises(ValueError, match="sets of 3 and 9 pictures"):
        kid(torch.zeros(3, 2), torch.zeros(9, 2))


def test_cmmd_is_that_of_plain_loops():
    drawn, real = sets(8, 11)
    units = [[row / row.norm() for row in x.double()] for x in (drawn, real)]

    def likeness(xs: list[Tensor], ys: list[Tensor]) -> float:
        return (
            sum(math.exp(-float((x - y).square().sum()) / (2 * SIGMA**2)) for x in xs for y in ys) / len(xs) / len(ys)
        )

    by_hand = 1000 * (likeness(units[0], units[0]) + likeness(units[1], units[1]) - 2 * likeness(*units))
    found = cmmd(drawn, real)
    assert found.value == pytest.approx(by_hand, rel=1e-6) and found.low <= found.value <= found.high
    assert cmmd(real, real).value == pytest.approx(0, abs=1e-6)


def test_precision_and_recall_are_those_of_plain_loops():
    drawn, real = sets(30, 30, width=3)

    def kth(x: Tensor, others: Tensor, k: int) -> float:
        return sorted(float((x - y).norm()) for y in others)[k]  # the first is itself

    inside = [[float((x - y).norm()) <= kth(y, real, 3) for y in real] for x in drawn]
    covered = [[float((x - y).norm()) <= kth(x, drawn, 3) for x in drawn] for y in real]
    dense = [[float((x - y).norm()) <= kth(y, real, 5) for y in real] for x in drawn]
    found = precision_recall(drawn, real)
    assert found["precision"].value == pytest.approx(np.mean([any(row) for row in inside]))
    assert found["recall"].value == pytest.approx(np.mean([any(row) for row in covered]))
    assert found["density"].value == pytest.approx(np.sum(dense) / 5 / len(drawn))
    assert found["coverage"].value == pytest.approx(np.mean(np.any(dense, axis=0)))
    assert 0 < found["recall"].value < 1


def test_precision_and_recall_are_those_of_torch_fidelity():
    metric = pytest.importorskip("torch_fidelity.metric_prc", reason="torch-fidelity is not installed")
    drawn, real = sets(200, 200, width=6)
    theirs = metric.prc_features_to_metric(
        drawn, real, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False
    )
    found = precision_recall(drawn, real)
    assert found["precision"].value == pytest.approx(theirs["precision"], abs=1e-3)
    assert found["recall"].value == pytest.approx(theirs["recall"], abs=1e-3)


def test_a_set_that_repeats_one_picture_has_no_region():
    _, real = sets()
    same = real[:1].expand(20, -1)
    assert radii(same.double(), 3).max() == 0
    found = precision_recall(same, real)
    assert found["precision"].value == 1 and found["recall"].value == pytest.approx(1 / len(real))
