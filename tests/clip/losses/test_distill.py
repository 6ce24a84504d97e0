import pytest
import torch
from open_clip.loss import DistillClipLoss
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from calligram.clip.losses import tiles
from calligram.clip.losses.distill import distillation_loss
from tests.clip.losses import plain


def pair(seed: int, num: int, width: int, scale: float, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [*(plain.unit(num, width, generator).to(dtype) for _ in range(2)), torch.tensor(scale, dtype=dtype)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("num", [1, 2, 17, 40, 67])
@pytest.mark.parametrize("scales", [(1.0, 100.0), (14.3, 14.3), (40.0, 5.0)])
def test_it_is_the_formula(dtype, tolerance, num, scales, odd_tiles):
    odd_tiles(num)
    student, teacher = pair(num, num, 24, scales[0], dtype), pair(num + 1, num, 40, scales[1], dtype)
    student = [x.requires_grad_() for x in student]
    exact = [x.detach().double().requires_grad_() for x in student]
    goal = teacher[2].double() * teacher[0].double() @ teacher[1].double().T
    expected = plain.distillation(exact[2] * exact[0] @ exact[1].T, goal)
    loss = distillation_loss(*student, *teacher)
    gradients = torch.autograd.grad(loss, student, retain_graph=True)
    again = torch.autograd.grad(loss, student)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))
    pairs = zip((loss, *gradients), (expected, *torch.autograd.grad(expected, exact)), strict=True)
    rounding = max(1.0, max(scales) / 5)  # of the scores, which their exponentials inherit
    for ours, theirs in pairs:
        assert (ours - theirs).norm() < rounding * tolerance * (theirs.norm() + 0.1)


def test_it_agrees_with_open_clip():
    student, teacher = pair(0, 30, 16, 14.3, torch.float32), pair(1, 30, 24, 50.0, torch.float32)
    _, expected = DistillClipLoss()(*student, *teacher)
    torch.testing.assert_close(distillation_loss(*student, *teacher), expected, atol=1e-6, rtol=1e-6)


def test_the_teacher_is_not_taught():
    student, teacher = ([x.requires_grad_() for x in pair(seed, 5, 8, 9.0, torch.double)] for seed in (0, 1))
    distillation_loss(*student, *teacher).backward()
    assert all(x.grad is None for x in teacher) and all(x.grad.abs().max() > 0 for x in student)


def test_nothing_is_left_to_learn_where_both_agree():
    student = [x.requires_grad_() for x in pair(0, 20, 8, 9.0, torch.double)]
    for gradient in torch.autograd.grad(distillation_loss(*student, *student), student):
        assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 2), (0, 1), (0, 1, 2)])
def test_what_is_frozen_has_no_gradient_and_the_rest_its_own(frozen, odd_tiles):
    odd_tiles(0)
    whole = [x.requires_grad_() for x in pair(0, 20, 8, 9.0, torch.double)]
    teacher = pair(1, 20, 8, 9.0, torch.double)
    expected = torch.autograd.grad(distillation_loss(*whole, *teacher), whole)
    student = [x.detach().requires_grad_(i not in frozen) for i, x in enumerate(whole)]
    loss = distillation_loss(*student, *teacher)
    assert loss.requires_grad == (len(frozen) < 3)
    if loss.requires_grad:
        loss.backward()
    for i, (x, gradient) in enumerate(zip(student, expected, strict=True)):
        if i in frozen:
            assert x.grad is None
        else:
            torch.testing.assert_close(x.grad, gradient)


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor had that was made within it."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        found = [x.numel() for x in (made if isinstance(made, tuple | list) else [made]) if isinstance(x, Tensor)]
        self.numel = max([self.numel, *found])
        return made


def test_no_tensor_has_the_square_of_the_batch(monkeypatch):
    monkeypatch.setattr(tiles, "CPU_TILE", 30)
    student, teacher = pair(0, 200, 4, 9.0, torch.float32), pair(1, 200, 4, 9.0, torch.float32)
    student = [x.requires_grad_() for x in student]
    with Largest() as largest:
        distillation_loss(*student, *teacher).backward()
    assert 30 * 30 <= largest.numel <= 200 * 5
