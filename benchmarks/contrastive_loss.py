"""CLIP's and SigLIP's loss against open_clip's: python benchmarks/contrastive_loss.py [--quick]

Forward and backward of both losses at the batch sizes at hand, 512 numbers an embedding, fp32, on the CPU. Features are
unit vectors, pairs of which have a cosine of about 0.3, as those of trained models do.

seconds: medians of turns in one process, ours and theirs one after the other.
MiB: the most memory that a fresh process held during one pass, less what it held before, once a pass over 64 pairs had
loaded the libraries. The features are there before; their gradients, which any way of computing them needs, are
in it on both sides, and by themselves are the row "of which gradients".
errors: of the value and of the worst gradient, |x − exact| / |exact|, the exact one by the formula in fp64, in chunks.
Where open_clip's matrices would not fit, it is said on stderr and left out.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from harness import Row, paired_seconds, row_of_pairs, run
from torch import Tensor

from calligram.clip.losses.sigmoid import sigmoid_loss
from calligram.clip.losses.softmax import softmax_loss
from calligram.progress import track

Sides = dict[str, Callable[[], Tensor]]

WIDTH, COSINE = 512, 0.3
SPARE_GIB = 6  # left to the rest of the machine
# square matrices that open_clip holds at once, measured at 8,192 pairs
PEER_MATRICES = {"softmax": 4, "sigmoid": 5}
PEER = {"softmax": "open_clip ClipLoss", "sigmoid": "open_clip SigLipLoss"}
START = {"softmax": (1 / 0.07, 0.0), "sigmoid": (10.0, -10.0)}


def features(num: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, noise = (F.normalize(torch.randn(num, WIDTH, generator=generator), dim=1) for _ in range(2))
    text = F.normalize(COSINE * image + math.sqrt(1 - COSINE**2) * noise, dim=1)
    return image.requires_grad_(), text.requires_grad_()


def losses(loss: str, num: int, sides: Sequence[str] = ("ours", "peer")) -> tuple[list[Tensor], Sides]:
    """Inputs, and each side's value of them."""
    scale, bias = (torch.tensor(x, requires_grad=True) for x in START[loss])
    (image, text), label = features(num), torch.arange(num)
    inputs = [image, text, scale] if loss == "softmax" else [image, text, scale, bias]
    ours = softmax_loss if loss == "softmax" else sigmoid_loss
    values: Sides = {"ours": lambda: ours(*inputs, label)[0]}
    if "peer" in sides:
        # not above: it takes seconds, which the processes that measure our memory can do without
        from open_clip.loss import ClipLoss, SigLipLoss

        peer = ClipLoss() if loss == "softmax" else SigLipLoss()
        values["peer"] = lambda: peer(*inputs)
    return inputs, {side: values[side] for side in sides}


def step(inputs: list[Tensor], value: Callable[[], Tensor]) -> Tensor:
    for x in inputs:
        x.grad = None
    loss = value()
    loss.backward()
    return loss.detach()


def exact(loss: str, inputs: list[Tensor], rows: int = 512) -> list[Tensor]:
    """Value and gradients by the formula in fp64, a chunk of rows at a time."""
    image, text, scale, *bias = (x.detach().double() for x in inputs)
    chunks, num = [slice(i, i + rows) for i in range(0, len(image), rows)], len(image)

    def scores(rows: slice) -> Tensor:
        return (scale * image[rows] @ text.T).add_(sum(bias))

    value, columns = torch.zeros((), dtype=torch.double), torch.full((num,), -torch.inf, dtype=torch.double)
    if loss == "softmax":
        for chunk in chunks:
            columns = torch.logaddexp(columns, scores(chunk).logsumexp(0))
        value += columns.mean() / 2
    gradients = [torch.zeros_like(image), torch.zeros_like(text), *(torch.zeros(()).double() for _ in (scale, *bias))]
    for chunk in chunks:
        s, own = scores(chunk), torch.arange(num)[chunk]
        right = s[torch.arange(len(own)), own]
        if loss == "softmax":
            r = s.logsumexp(1, keepdim=True)
            value += (r.sum() / 2 - right.sum()) / num
            g = ((s - r).exp_() + (s - columns).exp_()) / (2 * num)
            g[torch.arange(len(own)), own] -= 1 / num
        else:
            value += (F.softplus(s, threshold=50).sum() - right.sum()) / num
            g = s.sigmoid() / num
            g[torch.arange(len(own)), own] -= 1 / num
            gradients[3] += g.sum()
        gradients[0][chunk] = scale * g @ text
        gradients[1] += scale * g.T @ image[chunk]
        gradients[2] += (gradients[0][chunk] * image[chunk]).sum() / scale
    return [value, *gradients]


def errors(loss: str, inputs: list[Tensor], sides: Sides, truth: list[Tensor]) -> dict:
    """The relative errors of the value and of the gradient that is worst, of each side."""
    found = {}
    for side, value in sides.items():
        ours = [step(inputs, value), *(x.grad for x in inputs)]
        each = [((a.double() - b).norm() / b.norm()).item() for a, b in zip(ours, truth, strict=True)]
        found[side] = {"value": each[0], "gradients": max(each[1:])}
    return found


def own_memory() -> dict[str, int]:
    """What this process holds now and held at most, in KiB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[name].split()[0]) for name in ("VmRSS", "VmHWM")}


def peak(loss: str, side: str, num: int) -> None:
    """Print the MiB that one pass takes beyond what was there before: for a process of its own."""
    small_inputs, small = losses(loss, 64, [side])
    step(small_inputs, small[side])
    inputs, sides = losses(loss, num, [side])
    before = own_memory()["VmRSS"]
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    step(inputs, sides[side])
    print(json.dumps((own_memory()["VmHWM"] - before) / 1024))


def peak_of(loss: str, side: str, num: int) -> float:
    command = [sys.executable, __file__, "peak", loss, side, str(num), str(torch.get_num_threads())]
    # glibc keeps what was freed for later, so that a pass would seem to take nothing: large blocks go back at once
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**18), "MALLOC_TRIM_THRESHOLD_": str(2**18)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def free_gib() -> float:
    facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(facts["MemAvailable"].split()[0]) / 2**20


def fits(loss: str, num: int) -> bool:
    wanted, free = PEER_MATRICES[loss] * num**2 * 4 / 2**30, free_gib() - SPARE_GIB
    if wanted > free:
        say = f"{PEER[loss]} at {num:,} left out: it would take about {wanted:.0f} GiB, and {free:.0f} are to be had"
        print(say, file=sys.stderr)
    return wanted <= free


def measure(quick: bool) -> Iterator[Row]:
    sizes = [1024, 2048] if quick else [4096, 8192, 16384, 32768]
    peaks: dict[tuple[str, int], float] = {}
    for loss in track([*START], "losses"):
        for num in sizes:
            yield from measure_one(loss, num, peaks)


def measure_one(loss: str, num: int, peaks: dict[tuple[str, int], float]) -> Iterator[Row]:
    both = fits(loss, num)
    case, peer = f"{loss}, {num:,} pairs", PEER[loss] if both else "nothing: open_clip's does not fit"
    inputs, sides = losses(loss, num, ["ours", "peer"] if both else ["ours"])
    if "peer" in sides:
        repeats = max(2, min(7, 2**14 // num))
        pairs = paired_seconds(*(lambda value=value: step(inputs, value) for value in sides.values()), repeats=repeats)
        yield row_of_pairs(case, "seconds", pairs, peer, higher_is_better=False)
    else:
        start = time.perf_counter()
        step(inputs, sides["ours"])
        yield lone(case, "seconds", time.perf_counter() - start, peer)
    mib = {side: peak_of(loss, side, num) for side in sides}
    peaks[loss, num] = mib["ours"]
    yield row(case, "MiB at most", mib, peer)
    yield lone(case, "MiB, of which gradients", 2 * num * WIDTH * 4 / 2**20, peer)
    if (loss, num // 2) in peaks:
        yield lone(case, "times the memory of half the pairs", mib["ours"] / peaks[loss, num // 2], "itself")
    found = errors(loss, inputs, sides, exact(loss, inputs))
    for part in ("value", "gradients"):
        yield row(case, f"error of the {part}", {side: each[part] for side, each in found.items()}, peer)


def row(case: str, metric: str, values: dict[str, float], peer: str) -> Row:
    theirs = values.get("peer", math.nan)
    ratio = theirs / values["ours"] if values["ours"] else math.inf
    return Row(case=case, metric=metric, ours=values["ours"], peer=theirs, peer_name=peer, ratio=ratio)


def lone(case: str, metric: str, value: float, peer: str) -> Row:
    return Row(case=case, metric=metric, ours=value, peer=math.nan, peer_name=peer, ratio=math.nan)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        torch.set_num_threads(int(sys.argv[5]))
        peak(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        run("contrastive_loss", measure, ("torch", "open_clip_torch"))
