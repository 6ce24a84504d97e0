import pytest

from calligram.data import plan as plan_module
from calligram.data.plan import Plan, PlanSampler

PLAN = Plan(num_samples=10, batch_size=4, seed=3)


def indices(plan: Plan, steps: range) -> list[int]:
    return [ref.index for step in steps for ref in plan.batch(step)]


def test_a_batch_is_a_pure_function_of_seed_and_step():
    forwards = [PLAN.batch(step) for step in range(20)]
    plan_module._cache.clear()
    backwards = [Plan(10, 4, 3).batch(step) for step in reversed(range(20))]
    assert forwards == backwards[::-1]


def test_each_epoch_is_a_permutation_of_its_own():
    order = indices(PLAN, range(25))  # ten epochs
    epochs = [tuple(order[start : start + 10]) for start in range(0, 100, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(epochs)) == 10


def test_seeds_give_different_orders():
    assert indices(Plan(10, 5, seed=0), range(2)) != indices(Plan(10, 5, seed=1), range(2))


def test_the_batch_size_does_not_change_the_order():
    assert indices(Plan(10, 4, 3), range(5)) == indices(Plan(10, 20, 3), range(1)) == indices(Plan(10, 1, 3), range(20))


def test_every_position_has_a_seed_of_its_own():
    seeds = [ref.seed for step in range(20) for ref in PLAN.batch(step)]
    assert seeds == list(range(80))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_shares_of_all_processes_make_up_the_global_batch(world_size):
    shares = [list(PlanSampler(PLAN, 5, 9, rank, world_size)) for rank in range(world_size)]
    together = [[ref for share in step for ref in share] for step in zip(*shares, strict=True)]
    assert together == [PLAN.batch(step) for step in range(5, 9)]


def test_a_sampler_goes_on_where_another_stopped():
    whole = list(PlanSampler(PLAN, 0, 12))
    assert list(PlanSampler(PLAN, 0, 7)) + list(PlanSampler(PLAN, 7, 12)) == whole
    assert len(PlanSampler(PLAN, 7, 12)) == 5


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ValueError, match="batch_size 4 is not divisible by the 3 processes"):
        PlanSampler(PLAN, 0, 1, world_size=3)
