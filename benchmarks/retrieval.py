"""Retrieval's ranks beside CLIP_benchmark's recall: python benchmarks/retrieval.py [--quick]

Random unit vectors of 512 numbers, five captions a picture, with a cosine of about 0.3 to their picture. Ours finds the
rank of the best right answer in both directions in one pass over blocks; CLIP_benchmark computes all scores and, for
each k of 1, 5 and 10 and each direction, ``recall_at_k`` in batches of 64, as its command does. Same thread count.

seconds: one turn after the other in one process; what CLIP_benchmark cannot hold is measured of ours alone.
MiB at most: the peak of a fresh process over the whole of it, less what it held once libraries and features were there;
"with everything" is the peak itself. recall: the largest difference of the six figures.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from harness import Row, paired_seconds, row_of_pairs, run
from torch import Tensor

from calligram.eval.ranks import best_ranks

PEER = "CLIP_benchmark recall_at_k"
WIDTH, COSINE, TEXTS_EACH, BATCH = 512, 0.3, 5, 64
FULL = 30_000  # pictures, of 150,000 captions
KS = (1, 5, 10)


def features(num: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (B, E), captions (T, E), pairs (T, 2); made in place, so that making them is no peak."""
    generator = torch.Generator().manual_seed(0)
    image_BE = F.normalize(torch.randn(num, WIDTH, generator=generator), dim=1)
    text_TE = torch.empty(num * TEXTS_EACH, WIDTH).normal_(generator=generator)
    for own, picture in zip(text_TE.split(TEXTS_EACH), image_BE, strict=True):
        own *= math.sqrt(1 - COSINE**2) / math.sqrt(WIDTH)
        own += COSINE * picture
    F.normalize(text_TE, dim=1, out=text_TE)
    return (
        image_BE,
        text_TE,
        torch.stack([torch.arange(num).repeat_interleave(TEXTS_EACH), torch.arange(len(text_TE))], 1),
    )


def ours(image_BE: Tensor, text_TE: Tensor, pair_P2: Tensor) -> dict[str, float]:
    ranks = best_ranks(image_BE, text_TE, pair_P2)
    sides = {"text": ranks.text_B, "image": ranks.image_T}
    return {f"{side} {k}": float((rank <= k).float().mean()) for side, rank in sides.items() for k in KS}


def theirs(image_BE: Tensor, text_TE: Tensor, pair_P2: Tensor) -> dict[str, float]:
    """The end of its ``evaluate``, from the embeddings on."""
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    scores = text_TE @ image_BE.t()
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[pair_P2[:, 1], pair_P2[:, 0]] = True
    found = {}
    for k in KS:
        for side, x, y in (("image", scores, positive), ("text", scores.T, positive.T)):
            found[f"{side} {k}"] = (batchify(recall_at_k, x, y, BATCH, "cpu", k=k) > 0).float().mean().item()
    return found


SIDES = {"ours": ours, "peer": theirs}


def own_memory() -> dict[str, float]:
    """MiB that this process holds now and held at most."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}


def alone(side: str, num: int) -> None:
    """Print seconds and MiB of one turn: for a process of its own."""
    SIDES[side](*features(64))
    inputs = features(num)
    before = own_memory()["VmRSS"]
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start = time.perf_counter()
    SIDES[side](*inputs)
    seconds, most = time.perf_counter() - start, own_memory()["VmHWM"]
    print(json.dumps({"seconds": seconds, "more": most - before, "all": most}))


def in_a_process(side: str, num: int) -> dict[str, float]:
    command = [sys.executable, __file__, "alone", side, str(num), str(torch.get_num_threads())]
    # glibc keeps what was freed for later, so that a pass would seem to take nothing: large blocks go back at once
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**18), "MALLOC_TRIM_THRESHOLD_": str(2**18)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def measure(quick: bool) -> Iterator[Row]:
    for num in [500] if quick else [500, 1000]:
        yield from beside_the_peer(num, repeats=2)
    if not quick:
        case, found = name(FULL), in_a_process("ours", FULL)
        yield lone(case, "seconds", found["seconds"])
        yield lone(case, "MiB at most", found["more"])
        yield lone(case, "MiB at most, with everything", found["all"])


def beside_the_peer(num: int, repeats: int) -> Iterator[Row]:
    inputs = features(num)
    found = {side: work(*inputs) for side, work in SIDES.items()}
    pairs = paired_seconds(lambda: ours(*inputs), lambda: theirs(*inputs), repeats=repeats, warmup=0)
    yield row_of_pairs(name(num), "seconds", pairs, PEER, higher_is_better=False)
    mib = {side: in_a_process(side, num)["more"] for side in SIDES}
    yield Row(
        case=name(num),
        metric="MiB at most",
        ours=mib["ours"],
        peer=mib["peer"],
        peer_name=PEER,
        ratio=mib["peer"] / max(mib["ours"], 1),
    )
    yield lone(
        name(num),
        "largest difference of a recall",
        max(abs(found["ours"][k] - found["peer"][k]) for k in found["ours"]),
    )


def name(num: int) -> str:
    return f"{num:,} pictures × {num * TEXTS_EACH:,} captions"


def lone(case: str, metric: str, value: float) -> Row:
    return Row(case=case, metric=metric, ours=value, peer=math.nan, peer_name="–", ratio=math.nan)


if __name__ == "__main__":
    if sys.argv[1:2] == ["alone"]:
        torch.set_num_threads(int(sys.argv[4]))
        alone(sys.argv[2], int(sys.argv[3]))
    else:
        run("retrieval", measure, ("torch", "clip-benchmark"))
