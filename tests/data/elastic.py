"""Runs data loading in real processes that are really killed, for test_elastic.py: ``python elastic.py SHARDS OUT``.

The ranks are forked from here, where torch has been imported once; each joins a gloo group of its own.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from calligram.data.loader import Batches
from calligram.data.training import DataConfig, TrainingSet
from calligram.data.transforms import AugmentConfig

BATCH, STEPS = 8, 75  # of 200 samples: three epochs
KILLS = 20


def letters(captions: list[str]) -> torch.Tensor:
    return torch.tensor([[len(caption), *caption.ljust(40).encode()[:40]] for caption in captions])


def open_batches(shards: Path, rank: int, world_size: int, num_workers: int) -> Batches:
    augment = AugmentConfig(shift=2, flip=True, min_crop=0.8)
    config = DataConfig(shards=shards, num_workers=num_workers, augment=augment, shuffle_shards=2)
    return Batches(TrainingSet(config, 16), BATCH, STEPS, 5, letters, rank, world_size)


def run_rank(shards: Path, out: Path, rank: int, world_size: int, num_workers: int, delay_s: float) -> None:
    """Load to the end; the first rank adds each global batch to a rolling hash, and saves the state with it."""
    dist.init_process_group("gloo", init_method=f"file://{out}.group", rank=rank, world_size=world_size)
    batches = open_batches(shards, rank, world_size, num_workers)
    saved = json.loads(out.read_text()) if out.is_file() else {"hash": "", "data": batches.state_dict()}
    batches.load_state_dict(saved["data"])
    rolling = saved["hash"]
    for step, batch in enumerate(batches, start=batches.step):
        share = [
            (ref, hashlib.sha256(image.numpy().tobytes() + text.numpy().tobytes()).hexdigest())
            for ref, image, text in zip(
                batches.plan.batch(step, rank, world_size), batch["image"], batch["text"], strict=True
            )
        ]
        shares: list = [None] * world_size
        dist.all_gather_object(shares, share)
        states: list = [None] * world_size
        dist.all_gather_object(states, batches.state_dict())
        assert all(state == states[0] for state in states), "every rank has the same state"
        rolling = hashlib.sha256((rolling + repr(shares_in_order(shares))).encode()).hexdigest()
        if rank == 0:
            aside = out.with_suffix(".partial")
            aside.write_text(json.dumps({"hash": rolling, "data": states[0]}))
            os.replace(aside, out)
        time.sleep(delay_s)
    dist.destroy_process_group()


def shares_in_order(shares: list) -> list:
    return [sample for share in shares for sample in share]


def launch(shards: Path, out: Path, world_size: int, num_workers: int, kill_at: int | None = None) -> None:
    """Fork the ranks and wait for them, or kill them all, and their workers, once a step is saved."""
    Path(f"{out}.group").unlink(missing_ok=True)
    children = []
    for rank in range(world_size):
        child = os.fork()
        if not child:
            os.setpgid(0, 0)  # so that a kill takes the workers along
            try:
                run_rank(shards, out, rank, world_size, num_workers, 0.0 if kill_at is None else 0.01)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        children.append(child)
    if kill_at is not None:
        while not out.is_file() or json.loads(out.read_text())["data"]["step"] < kill_at:
            time.sleep(0.002)
        for child in children:
            os.killpg(child, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    expected = 0 if kill_at is None else -signal.SIGKILL
    if codes != [expected] * world_size:
        raise SystemExit(f"ranks ended with {codes}")


def main() -> None:
    shards, folder = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    found = {}
    for world_size in (1, 2, 4):
        for num_workers in (0, 1, 2):
            out = folder / f"{world_size}-{num_workers}.json"
            launch(shards, out, world_size, num_workers)
            found[out.stem] = json.loads(out.read_text())["hash"]
    chance = random.Random(0)
    out = folder / "killed.json"
    steps = sorted(chance.sample(range(1, STEPS), KILLS))
    layouts = [(chance.choice((1, 2, 4)), chance.choice((0, 1, 2))) for _ in range(KILLS + 1)]
    for step, layout in zip(steps, layouts, strict=False):
        launch(shards, out, *layout, kill_at=step)
    launch(shards, out, *layouts[-1])
    found["killed"] = json.loads(out.read_text())["hash"]
    print(json.dumps({"hashes": found, "layouts": layouts}))


if __name__ == "__main__":
    main()
