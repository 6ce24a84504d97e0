"""The losses by their formulas, with all scores at once: what the fast ones are tested against, and random cases.

# B pictures, C texts of which the first B are the pictures' own, E embedding
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(logits_BC: Tensor, positive_BC: Tensor) -> Tensor:
    """One direction: each positive against the row's negatives alone, the mean over a row's positives and over rows."""
    lowest = torch.finfo(logits_BC.dtype).min  # −inf would make the gradient of a row without negatives nan
    negatives_B1 = logits_BC.masked_fill(positive_BC, lowest).logsumexp(1, keepdim=True)
    losses_BC = F.softplus(negatives_B1 - logits_BC, threshold=50).masked_fill(~positive_BC, 0)
    return (losses_BC.sum(1) / positive_BC.sum(1)).mean()


def softmax(logits_BC: Tensor, label_C: Tensor) -> Tensor:
    num = len(logits_BC)
    same_BC = label_C[:num, None] == label_C
    return (info_nce(logits_BC, same_BC) + info_nce(logits_BC[:, :num].T, same_BC[:, :num].T)) / 2


def sigmoid(logits_BC: Tensor, label_C: Tensor) -> Tensor:
    sign_BC = torch.where(label_C[: len(logits_BC), None] == label_C, 1, -1)
    return -F.logsigmoid(sign_BC * logits_BC).sum() / len(logits_BC)


def distillation(scores_BB: Tensor, teacher_BB: Tensor) -> Tensor:
    """Cross-entropy of the student's softmax under the teacher's, the mean of rows and columns."""

    def one(student: Tensor, teacher: Tensor) -> Tensor:
        return -(teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()

    return (one(scores_BB, teacher_BB) + one(scores_BB.T, teacher_BB.T)) / 2


def accuracy(logits_BC: Tensor, label_C: Tensor) -> float:
    same_BC = label_C[: len(logits_BC), None] == label_C
    return same_BC.gather(1, logits_BC.argmax(1, keepdim=True)).double().mean().item()


class Case(NamedTuple):
    image_BE: Tensor
    text_CE: Tensor
    scale: Tensor
    bias: Tensor
    label_C: Tensor

    def to(self, dtype: torch.dtype) -> "Case":
        """Another type, ready for gradients; the labels stay."""
        return Case(*(x.detach().to(dtype).requires_grad_() for x in self[:4]), self.label_C)


def random_case(seed: int) -> Case:
    """Odd sizes, few and many labels, false texts, scales from 1 to 100, near and far pairs."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    num, extra = rng.choice([1, 2, 3, 17, 40, 64, 100]), rng.choice([0, 0, 1, 7, 40])
    width, near = rng.choice([8, 64, 200]), rng.choice([0, 0.5, 0.9])
    label_C = torch.randperm(num + extra, generator=generator)
    label_C = rng.choice([label_C, label_C % rng.choice([1, 2, 5, num])])
    image_BE, noise_CE = (unit(rows, width, generator) for rows in (num, num + extra))
    towards_CE = torch.cat([image_BE, unit(extra, width, generator)])
    text_CE = F.normalize(near * towards_CE + (1 - near) * noise_CE, dim=1)
    scale, bias = rng.choice([1.0, 2.5, 10.0, 14.3, 40.0, 100.0]), rng.choice([-10.0, 0.0, 3.0])
    return Case(image_BE, text_CE, torch.tensor(scale), torch.tensor(bias), label_C)


def unit(rows: int, width: int, generator: torch.Generator) -> Tensor:
    # rounded to fp32, so that a case is the same numbers in both types
    return F.normalize(torch.randn(rows, width, dtype=torch.double, generator=generator), dim=1).float().double()


def worst_error(
    case: Case, ours: Callable[[Case], Tensor], plain: Callable[[Tensor, Tensor], Tensor], with_bias: bool
) -> float:
    """The largest error of value and gradients against fp64, beside the sum of the sizes of what is added up.

    In fp32 a score of 40 is known to 2e-6, and so is its exponential: from 5 on the error is divided by scale / 5.
    """
    exact = case.to(torch.double)
    logits_BC = exact.scale * exact.image_BE @ exact.text_CE.T + (exact.bias if with_bias else 0)
    expected = plain(logits_BC, case.label_C)
    inputs = slice(4 if with_bias else 3)
    expected_gradients = torch.autograd.grad(expected, exact[inputs], retain_graph=True)
    (weight_BC,) = torch.autograd.grad(expected, logits_BC)
    loss = ours(case)
    gradients = torch.autograd.grad(loss, case[inputs])

    size_BC, image_BE, text_CE = weight_BC.abs(), exact.image_BE.detach().abs(), exact.text_CE.detach().abs()
    scale, cosine_BC = case.scale.detach().double(), image_BE @ text_CE.T
    sizes = (
        expected.detach() + (size_BC * logits_BC.detach().abs()).sum(),
        scale * size_BC @ text_CE,
        scale * size_BC.T @ image_BE,
        (size_BC * cosine_BC).sum(),
        size_BC.sum(),
    )
    pairs = zip((loss, *gradients), (expected, *expected_gradients), sizes, strict=False)
    errors = [(ours - theirs).norm() / size.norm().clamp(min=1e-20) for ours, theirs, size in pairs]
    return torch.stack(errors).max().item() / max(1.0, scale.item() / 5)
