"""Several processes, each with its share of the batch, against the formula with all of it."""

import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest
import torch

from calligram.clip.losses.distill import distillation_loss
from calligram.clip.losses.ring import ALONE, Ring, anywhere, travel
from calligram.clip.losses.sigmoid import sigmoid_loss
from calligram.clip.losses.softmax import softmax_loss
from tests.clip.losses import plain
from tests.train.processes import ENVIRONMENT, command

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


class Threads:
    """A ring of threads of one process."""

    def __init__(self, rank: int, queues: list[Queue]):
        self.rank, self.size, self.queues = rank, len(queues), queues

    def pass_on(self, tensors):
        self.queues[(self.rank + 1) % self.size].put(tuple(x.clone() for x in tensors))
        # a message waits for those that were sent before it, as on a wire
        return lambda: self.queues[self.rank].get(timeout=60)


def in_threads(size: int, work) -> list:
    queues = [Queue() for _ in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: work(Threads(rank, queues)), range(size)))


def whole_batch(seed: int, size: int, kind: str, extra: int = 2) -> plain.Case:
    """Cases in which labels repeat in one process, in all or nowhere."""
    generator = torch.Generator().manual_seed(seed)
    share = 5
    image, text = plain.unit(size * share, 16, generator), plain.unit(size * (share + extra), 16, generator)
    label = torch.randperm(len(text), generator=generator)
    label = {"distinct": label, "few": label % 3, "one": label * 0, "some": label % (2 * len(text) // 3)}[kind]
    return plain.Case(image, text, torch.tensor(9.0), torch.tensor(-3.0), label)


def gathered(case: plain.Case, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Order of the texts of all processes in which the pictures' own come first; the labels in it."""
    number, share = torch.arange(len(case.text_CE)).view(size, -1), len(case.image_BE) // size
    order = torch.cat([number[:, :share].flatten(), number[:, share:].flatten()])
    return order, case.label_C[order]


def expected_of(case: plain.Case, size: int, formula) -> tuple[torch.Tensor, list[torch.Tensor], float]:
    order, label = gathered(case, size)
    exact = case.to(torch.double)
    bias = exact.bias if formula is plain.sigmoid else 0
    logits = exact.scale * exact.image_BE @ exact.text_CE[order].T + bias
    loss = formula(logits, label)
    inputs = exact[: 4 if formula is plain.sigmoid else 3]
    return loss.detach(), list(torch.autograd.grad(loss, inputs)), plain.accuracy(logits, label)


def share_of(case: plain.Case, ring: Ring, formula, dtype: torch.dtype):
    """Loss, accuracy and gradients of one process."""
    images, texts = (
        x.view(ring.size, -1, x.shape[1])[ring.rank].to(dtype).requires_grad_() for x in (case.image_BE, case.text_CE)
    )
    scale, bias = (x.to(dtype).clone().requires_grad_() for x in (case.scale, case.bias))
    label = case.label_C.view(ring.size, -1)[ring.rank]
    if formula is plain.sigmoid:
        inputs, (loss, accuracy) = (images, texts, scale, bias), sigmoid_loss(images, texts, scale, bias, label, ring)
    else:
        inputs, (loss, accuracy) = (images, texts, scale), softmax_loss(images, texts, scale, label, ring)
    return loss.detach(), accuracy, torch.autograd.grad(loss, inputs)


def compare(shares: list, expected, tolerance: float) -> float:
    """Features have the gradient of the sum of the losses, numbers in the mean: DDP divides all by their number."""
    losses, accuracies, gradients = zip(*shares, strict=True)
    loss, theirs, accuracy = expected
    image, text, *numbers = zip(*gradients, strict=True)
    ours = [torch.cat(x) / len(shares) for x in (image, text)] + [torch.stack(x).mean() for x in numbers]
    pairs = [(torch.stack(losses).mean(), loss), *zip(ours, theirs, strict=True)]
    # 1: a batch of one caption has no gradient
    errors = [float((a.double() - b).norm() / b.norm().clamp(min=1e-2)) for a, b in pairs]
    assert max(errors) < tolerance, errors
    assert torch.stack(accuracies).double().mean().item() == pytest.approx(accuracy)
    return max(errors)


KINDS = ["distinct", "few", "one", "some"]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("formula", [plain.softmax, plain.sigmoid])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_ring_has_the_loss_and_gradient_of_the_whole_batch(size, formula, kind, dtype, odd_tiles):
    odd_tiles(size)
    case = whole_batch(size, size, kind)
    shares = in_threads(size, lambda ring: share_of(case, ring, formula, dtype))
    compare(shares, expected_of(case, size, formula), TOLERANCE[dtype])


def lesson(size: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """A whole batch of a student and of its teacher, whose features are wider."""
    generator, num = torch.Generator().manual_seed(size), 5 * size
    student = [plain.unit(num, 16, generator), plain.unit(num, 16, generator), torch.tensor(9.0)]
    return student, [plain.unit(num, 24, generator), plain.unit(num, 24, generator), torch.tensor(30.0)]


def share_of_lesson(size: int, ring: Ring, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, tuple]:
    """Loss and gradients of one process; and a number, as of the others, which here is no accuracy."""
    sides = [[x.view(ring.size, -1, x.shape[1])[ring.rank] if x.ndim else x for x in side] for side in lesson(size)]
    student, teacher = ([x.to(dtype).clone() for x in side] for side in sides)
    student = [x.requires_grad_() for x in student]
    loss = distillation_loss(*student, *teacher, ring)
    gradients = torch.autograd.grad(loss, student, retain_graph=True)
    again = torch.autograd.grad(loss, student)  # what was kept is gone: all processes compute it anew
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))
    return loss.detach(), torch.zeros(()), gradients


def expected_of_lesson(size: int) -> tuple[torch.Tensor, list[torch.Tensor], float]:
    student, teacher = ([x.double() for x in side] for side in lesson(size))
    student = [x.requires_grad_() for x in student]
    scores, goal = (side[2] * side[0] @ side[1].T for side in (student, teacher))
    loss = plain.distillation(scores, goal)
    return loss.detach(), list(torch.autograd.grad(loss, student)), 0.0


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_teacher_of_a_ring_teaches_as_one_of_the_whole_batch(size, dtype, odd_tiles):
    odd_tiles(size)
    shares = in_threads(size, lambda ring: share_of_lesson(size, ring, dtype))
    compare(shares, expected_of_lesson(size), 6 * TOLERANCE[dtype])  # scores to 30 know 2e-6 of themselves


def test_what_travels_is_seen_by_all_and_comes_home_changed():
    def work(ring):
        seen = []

        def visit(fixed, carried):
            seen.append(int(fixed[0]))
            carried[0].add_(10**ring.rank)

        (home,) = travel(ring, (torch.tensor(ring.rank),), (torch.tensor(0),), visit)
        return seen, int(home)

    assert in_threads(3, work) == [([0, 2, 1], 111), ([1, 0, 2], 111), ([2, 1, 0], 111)]


def test_a_flag_of_one_is_known_to_all():
    assert in_threads(3, lambda ring: anywhere(ring, ring.rank == 1, torch.device("cpu"))) == [True] * 3
    assert in_threads(3, lambda ring: anywhere(ring, False, torch.device("cpu"))) == [False] * 3
    assert anywhere(ALONE, True, torch.device("cpu")) and not anywhere(ALONE, False, torch.device("cpu"))


def test_features_travel_once_more_only_where_captions_meet():
    """Looking for positives elsewhere is a second trip, which a batch of distinct captions is spared."""
    sent = {}
    for kind in ("distinct", "few"):
        sizes = deque()

        class Counting(Threads):
            def pass_on(self, tensors):
                sizes.append(sum(x.nbytes for x in tensors))  # noqa: B023
                return super().pass_on(tensors)

        queues = [Queue(), Queue()]
        case = whole_batch(0, 2, kind)
        with ThreadPoolExecutor(2) as pool, torch.no_grad():
            list(pool.map(lambda r: share_of_value(case, Counting(r, queues)), range(2)))  # noqa: B023
        sent[kind] = sum(sizes)
    assert 1.5 * sent["distinct"] < sent["few"]


def share_of_value(case: plain.Case, ring: Ring) -> torch.Tensor:
    images, texts = (x.view(ring.size, -1, x.shape[1])[ring.rank] for x in (case.image_BE, case.text_CE))
    return softmax_loss(images, texts, case.scale, case.label_C.view(ring.size, -1)[ring.rank], ring)[0]


def each_process() -> None:
    """What torchrun starts: every case in every process, whose results meet in a file."""
    from calligram.train import distributed

    torch.set_num_threads(1)
    with distributed.started():
        ring = distributed.Ring()
        found = {}
        for kind in KINDS:
            for formula in (plain.softmax, plain.sigmoid):
                for dtype in TOLERANCE:
                    case = whole_batch(ring.size, ring.size, kind)
                    found[kind, formula.__name__, str(dtype)] = share_of(case, ring, formula, dtype)
        for dtype in TOLERANCE:
            found["lesson", str(dtype)] = share_of_lesson(ring.size, ring, dtype)
        # Python's own numbers and tensors only, read back without unpickling anything else
        torch.save({"/".join(key): value for key, value in found.items()}, Path(sys.argv[2]) / f"{ring.rank}.pt")
        distributed.barrier()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_real_processes_have_the_loss_and_gradient_of_the_whole_batch(size, tmp_path):
    words = command([__file__, "each", str(tmp_path)], size)
    done = subprocess.run(words, env=ENVIRONMENT, timeout=500, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(size)]
    worst = dict.fromkeys(TOLERANCE, 0.0)
    for kind in KINDS:
        for formula in (plain.softmax, plain.sigmoid):
            for dtype in TOLERANCE:
                shares = [one[f"{kind}/{formula.__name__}/{dtype}"] for one in found]
                expected = expected_of(whole_batch(size, size, kind), size, formula)
                worst[dtype] = max(worst[dtype], compare(shares, expected, TOLERANCE[dtype]))
    for dtype in TOLERANCE:
        shares = [one[f"lesson/{dtype}"] for one in found]
        worst[dtype] = max(worst[dtype], compare(shares, expected_of_lesson(size), 6 * TOLERANCE[dtype]))
    print(size, worst)


if __name__ == "__main__":
    each_process()
