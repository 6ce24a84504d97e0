import pytest
import torch
from open_clip.loss import SigLipLoss

from calligram.clip.losses.sigmoid import sigmoid_loss
from tests.clip.losses import plain

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def ours(case: plain.Case) -> torch.Tensor:
    return sigmoid_loss(*case)[0]


def check(seeds: range, odd_tiles) -> dict[torch.dtype, float]:
    worst = dict.fromkeys(TOLERANCE, 0.0)
    for seed in seeds:
        odd_tiles(seed)
        for dtype in worst:
            case = plain.random_case(seed).to(dtype)
            error = plain.worst_error(case, ours, plain.sigmoid, with_bias=True)
            assert error < TOLERANCE[dtype], (seed, dtype)
            worst[dtype] = max(worst[dtype], error)
    return worst


def test_it_is_the_formula(odd_tiles):
    check(range(25), odd_tiles)


@pytest.mark.slow
def test_it_is_the_formula_in_hundreds_of_cases(odd_tiles):
    print(check(range(25, 425), odd_tiles))


def test_distinct_labels_make_it_open_clips_loss(odd_tiles):
    odd_tiles(0)
    image, text = (plain.unit(41, 30, torch.Generator().manual_seed(seed)).float() for seed in (0, 1))
    scale, bias = torch.tensor(10.0), torch.tensor(-10.0)
    loss, _ = sigmoid_loss(image, text, scale, bias, torch.randperm(len(image)))
    torch.testing.assert_close(loss, SigLipLoss()(image, text, scale, bias), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("bias", [-300.0, 60.0, 300.0])
def test_scores_whose_exponential_is_too_large(bias):
    case = plain.random_case(8)._replace(scale=torch.tensor(30.0), bias=torch.tensor(bias)).to(torch.float32)
    assert plain.worst_error(case, ours, plain.sigmoid, with_bias=True) < 1e-6


def test_the_gradient_can_be_asked_for_twice():
    """The first time it is there already, the second time it is computed again."""
    case = plain.random_case(9).to(torch.double)
    loss = ours(case)
    first = [x.clone() for x in torch.autograd.grad(loss * 3, case[:4], retain_graph=True)]
    second = torch.autograd.grad(loss * 3, case[:4])
    torch.testing.assert_close(first, list(second))


def test_accuracy_and_value_without_gradients(odd_tiles):
    for seed in range(20):
        odd_tiles(seed)
        case = plain.random_case(seed)
        loss, accuracy = sigmoid_loss(*case)
        assert not loss.requires_grad
        assert accuracy.item() == pytest.approx(plain.accuracy(case.image_BE @ case.text_CE.T, case.label_C))


def test_half_precision_and_autocast_do_not_round_the_scores():
    case = plain.random_case(11).to(torch.bfloat16)
    wide = case.to(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss, expected = ours(case), ours(wide)
    assert torch.equal(loss, expected) and loss.dtype == torch.float32
    gradient, theirs = torch.autograd.grad(loss, case.text_CE)[0], torch.autograd.grad(expected, wide.text_CE)[0]
    assert torch.equal(gradient, theirs.to(torch.bfloat16))


def test_a_frozen_side_costs_nothing_and_the_scale_still_learns():
    for frozen in (0, 1):
        case = plain.random_case(13).to(torch.double)
        expected = torch.autograd.grad(ours(case), case[:4])
        case[frozen].requires_grad_(False)
        ours(case).backward()
        assert case[frozen].grad is None
        for mine in {0, 1, 2, 3} - {frozen}:
            torch.testing.assert_close(case[mine].grad, expected[mine])


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
