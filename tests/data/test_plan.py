import json
import pickle
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from calligram.data.plan import Plan, PlanSampler, SampleRef, default_lanes

COUNTS = (10, 10, 3)
PLAN = Plan((COUNTS,), batch_size=6, seed=3)


def samples(plan: Plan, steps: range) -> list[tuple[int, int, int]]:
    return [ref[:3] for step in steps for ref in plan.batch(step)]


def test_a_batch_is_a_pure_function_of_seed_and_step():
    forwards = [PLAN.batch(step) for step in range(40)]
    backwards = [Plan((COUNTS,), 6, 3).batch(step) for step in reversed(range(40))]
    assert forwards == backwards[::-1]
    assert pickle.loads(pickle.dumps(PLAN)).batch(17) == forwards[17]  # noqa: S301 - what was pickled the moment before


def test_the_order_of_a_seed_is_the_same_for_ever():
    """What a run of years ago was trained on; a change here is a change of everybody's data order."""
    assert [(ref.shard, ref.row) for ref in PLAN.batch(0)] == EXPECTED


EXPECTED = [(0, 5), (0, 7), (2, 0), (1, 0), (1, 3), (1, 8)]


@pytest.mark.parametrize("counts", [COUNTS, (24,), (0, 7, 0, 17), (1,) * 24])
@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_in_an_epoch_every_sample_comes_once_but_for_what_the_lanes_leave(counts, batch_size):
    plan = Plan((counts,), batch_size, seed=0)
    num_samples, lanes = sum(counts), plan.num_lanes
    length = num_samples // lanes * lanes
    order = samples(plan, range(10 * length // batch_size))
    everything = {(0, shard, row) for shard, count in enumerate(counts) for row in range(count)}
    for start in range(0, len(order) - length + 1, length):
        epoch = order[start : start + length]
        assert len(set(epoch)) == len(epoch) and set(epoch) <= everything
    assert set(order) == everything, "over some epochs none is left out"


def test_epochs_and_seeds_have_orders_of_their_own():
    epochs = [tuple(samples(PLAN, range(start, start + 3))) for start in range(0, 30, 3)]
    assert len(set(epochs)) == 10
    assert samples(Plan((COUNTS,), 6, seed=4), range(3)) != samples(PLAN, range(3))


def test_every_sample_of_a_training_has_a_position_of_its_own():
    positions = [ref.position for step in range(20) for ref in PLAN.batch(step)]
    assert sorted(positions) == list(range(120))


@pytest.mark.parametrize("world_size", [1, 2, 3, 6])
def test_the_shares_of_all_processes_make_up_the_global_batch(world_size):
    shares = [list(PlanSampler(PLAN, 5, 9, rank, world_size)) for rank in range(world_size)]
    assert {len(step) for share in shares for step in share} == {6 // world_size}
    together = [[ref for share in step for ref in share] for step in zip(*shares, strict=True)]
    assert together == [PLAN.batch(step) for step in range(5, 9)]


def test_a_sampler_goes_on_where_another_stopped():
    whole = list(PlanSampler(PLAN, 0, 12))
    assert list(PlanSampler(PLAN, 0, 7)) + list(PlanSampler(PLAN, 7, 12)) == whole
    assert len(PlanSampler(PLAN, 7, 12)) == 5


def test_fewer_samples_than_a_batch_are_taken_again():
    counts = Counter(samples(Plan(((2, 0, 1),), 64, seed=0), range(9)))
    assert set(counts) == {(0, 0, 0), (0, 0, 1), (0, 2, 0)}
    assert max(counts.values()) <= 1.2 * min(counts.values())


def test_processes_that_the_lanes_cannot_be_shared_by_are_refused():
    with pytest.raises(ValueError, match="4 processes cannot share 6 lanes evenly"):
        PLAN.batch(0, 0, 4)
    with pytest.raises(ValueError, match="4 lanes do not divide a batch of 6"):
        Plan((COUNTS,), 6, 0, num_lanes=4)


@pytest.mark.parametrize(("batch_size", "lanes"), [(1, 1), (7, 7), (12, 12), (96, 48), (128, 64), (1000, 50), (97, 1)])
def test_lanes_divide_the_batch(batch_size, lanes):
    assert default_lanes(batch_size) == lanes


def test_a_process_reads_few_shards_at_a_time():
    """A lane of many shards takes its samples from a block of four: no more have to be at hand."""
    plan = Plan(((100,) * 640,), batch_size=64, seed=0)
    for lane in (0, 63):
        row = [plan.batch(step)[lane] for step in range(900)]  # of 1,000 in an epoch
        windows = [{ref.shard for ref in row[start : start + 50]} for start in range(0, 900, 50)]
        assert max(map(len, windows)) <= 8  # two blocks, at the seam


def test_samples_that_were_neighbours_part():
    """Of sorted shards, as those of a folder of classes are, a batch sees nearly as many as of shuffled samples."""
    plan = Plan(((1000,) * 40,), batch_size=128, seed=1)
    kinds = []
    for step in range(100):
        batch = plan.batch(step)
        kinds.append(len({(ref.shard, ref.row // 100) for ref in batch}))  # 400 kinds, each in a row
    chance = 400 * (1 - (1 - 1 / 400) ** 128)
    assert np.mean(kinds) > 0.95 * chance
    follow = [(a.shard, a.row + 1) == (b.shard, b.row) for step in range(100) for a, b in pairwise(plan.batch(step))]
    assert np.mean(follow) < 0.002


def test_sources_take_turns_and_each_keeps_its_own_epochs():
    plan = Plan(((4, 4), (16,)), batch_size=4, seed=0, weights=(1, 1))
    order = [ref for step in range(40) for ref in plan.batch(step)]
    counts = Counter(ref[:3] for ref in order)
    assert sum(count for ref, count in counts.items() if ref[0] == 0) == pytest.approx(80, abs=4)
    assert {ref for ref in counts if ref[0] == 0} == {(0, s, r) for s in range(2) for r in range(4)}
    assert {ref for ref in counts if ref[0] == 1} == {(1, 0, r) for r in range(16)}
    assert max(counts[ref] for ref in counts if ref[0] == 1) <= 6 < 9 <= min(counts[r] for r in counts if r[0] == 0)


BIG = """
import json, re, time
from pathlib import Path
import numpy as np
from calligram.data.plan import Plan

counts = (tuple(np.random.default_rng(0).integers(8_000, 10_001, 50_000).tolist()),)
start = time.perf_counter()
plan = Plan(counts, 1024, 0)
plan.batch(0)
started = time.perf_counter()
for step in range(1, 101):
    plan.batch(step)
ran = time.perf_counter()
plan = Plan(counts, 1024, 0)
plan.batch(10**6)
print(json.dumps({
    "samples": sum(counts[0]),
    "start_s": started - start,
    "batch_ms": (ran - started) * 10,
    "resume_ms": (time.perf_counter() - ran) * 1000,
    "rss_mb": int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024,
}))
"""


def test_450_million_samples_need_next_to_no_memory():
    output = subprocess.run([sys.executable, "-c", BIG], capture_output=True, text=True, check=True).stdout
    found = json.loads(output)
    assert found["samples"] > 449e6
    assert found["rss_mb"] < 300


def test_references_are_plain_numbers():
    assert all(type(number) is int for ref in PLAN.batch(0) for number in ref)
    assert isinstance(PLAN.batch(0)[0], SampleRef)
