import open_clip
import pytest
import torch
import torch.nn.functional as F

from calligram.clip.losses.exponents import common_shift
from calligram.clip.losses.softmax import softmax_loss
from tests.clip.losses import plain

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def ours(case: plain.Case) -> torch.Tensor:
    return softmax_loss(case.image_BE, case.text_CE, case.scale, case.label_C)[0]


def check(seeds: range, odd_tiles) -> dict[torch.dtype, float]:
    worst = dict.fromkeys(TOLERANCE, 0.0)
    for seed in seeds:
        odd_tiles(seed)
        for dtype in worst:
            case = plain.random_case(seed).to(dtype)
            error = plain.worst_error(case, ours, plain.softmax, with_bias=False)
            assert error < TOLERANCE[dtype], (seed, dtype)
            worst[dtype] = max(worst[dtype], error)
    return worst


def test_it_is_the_formula(odd_tiles):
    check(range(25), odd_tiles)


@pytest.mark.slow
def test_it_is_the_formula_in_hundreds_of_cases(odd_tiles):
    print(check(range(25, 425), odd_tiles))


def test_each_positive_stands_against_the_negatives_alone():
    """The formula in words, for the slow twin itself."""
    logits_BC = 10 * plain.random_case(5).image_BE[:4] @ plain.random_case(5).text_CE[:5].T
    positive = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 1]]).bool()
    rows = []
    for likeness, right in zip(logits_BC.exp(), positive, strict=True):
        negatives = likeness[~right].sum()
        rows.append(torch.stack([-(p / (p + negatives)).log() for p in likeness[right]]).mean())
    torch.testing.assert_close(plain.info_nce(logits_BC, positive), torch.stack(rows).mean())


def test_a_positive_does_not_compete_with_another():
    """However near one of two pictures is, the other is drawn to their caption as strongly."""
    texts = torch.eye(8, dtype=torch.float64)[[0, 0, 1]]
    pulls = []
    for near in (0.0, 0.9):
        first = F.normalize(texts[:1] * near + texts[:1].roll(2) * (1 - near), dim=1)
        images = torch.cat([first, texts[:1].roll(3), texts[2:]]).requires_grad_()
        loss, _ = softmax_loss(images, texts, torch.tensor(5.0), torch.tensor([0, 0, 1]))
        pulls.append(torch.autograd.grad(loss, images)[0][1])
    torch.testing.assert_close(pulls[0], pulls[1])
    assert pulls[0].norm() > 0.1


def test_distinct_labels_make_it_open_clips_loss(odd_tiles):
    odd_tiles(0)
    image, text = (plain.unit(41, 30, torch.Generator().manual_seed(seed)).float() for seed in (0, 1))
    loss, _ = softmax_loss(image, text, torch.tensor(14.3), torch.randperm(len(image)))
    torch.testing.assert_close(loss, open_clip.ClipLoss()(image, text, torch.tensor(14.3)), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("scale", [100.0, 400.0])
def test_scores_that_do_not_share_their_exponentials(scale, odd_tiles):
    """Rows whose scores lie up to 800 apart, of which fp32 cannot hold the powers with one reference for all."""
    odd_tiles(1)
    towards = F.normalize(torch.ones(1, 16, dtype=torch.double), dim=1)
    image = F.normalize(torch.cat([towards.expand(20, 16), -towards.expand(20, 16)]), dim=1)
    image = F.normalize(image + 0.01 * torch.randn(40, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    text = F.normalize(towards + 0.01 * torch.randn(40, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    case = plain.Case(image, text, torch.tensor(scale), torch.tensor(0.0), torch.arange(40)).to(torch.float32)
    assert common_shift(torch.tensor([-scale]), torch.tensor([scale]), torch.float32) is None
    assert plain.worst_error(case, ours, plain.softmax, with_bias=False) < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_only_that_of_the_features(dtype):
    case = plain.random_case(11).to(dtype)
    loss = ours(case)
    gradient = torch.autograd.grad(loss, case.image_BE)[0]
    wide = case.to(torch.float32)
    assert loss.dtype == torch.float32 and gradient.dtype == dtype
    assert torch.equal(loss, ours(wide))
    torch.testing.assert_close(gradient, torch.autograd.grad(ours(wide), wide.image_BE)[0].to(dtype))


def test_autocast_does_not_round_the_scores():
    exact, half = (plain.random_case(12).to(torch.float32) for _ in range(2))
    ours(exact).backward()
    with torch.autocast("cpu", torch.bfloat16):
        ours(half).backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(exact[:3], half[:3], strict=True))


def test_accuracy_is_that_of_the_nearest_text(odd_tiles):
    for seed in range(20):
        odd_tiles(seed)
        case = plain.random_case(seed)
        _, accuracy = softmax_loss(case.image_BE, case.text_CE, case.scale, case.label_C)
        assert accuracy.item() == pytest.approx(plain.accuracy(case.image_BE @ case.text_CE.T, case.label_C))


def test_a_frozen_side_costs_nothing_and_the_scale_still_learns():
    for frozen in (0, 1):
        case = plain.random_case(13).to(torch.double)
        expected = torch.autograd.grad(ours(case), case[:3])
        case[frozen].requires_grad_(False)
        ours(case).backward()
        assert case[frozen].grad is None
        torch.testing.assert_close(case[1 - frozen].grad, expected[1 - frozen])
        torch.testing.assert_close(case.scale.grad, expected[2])


def test_what_is_no_number_stays_no_number():
    """The training counts on it: such a step is left out."""
    for bad in (torch.nan, torch.inf):
        case = plain.random_case(14)
        case.image_BE[0, 0] = bad
        case = case.to(torch.float32)
        loss = ours(case)
        loss.backward()
        assert not torch.isfinite(loss)
        assert not all(torch.isfinite(x.grad).all() for x in case[:2])


def test_memory_grows_with_the_batch_and_not_with_its_square():
    kept = {}
    for num in (200, 400):
        x, y = (torch.randn(num, 4, requires_grad=True) for _ in range(2))
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.nbytes) or x, lambda x: x):  # noqa: B023
            softmax_loss(x, y, torch.tensor(1.0, requires_grad=True), torch.arange(num))
        kept[num] = sum(sizes)
    assert 0 < kept[400] <= 2 * kept[200]
