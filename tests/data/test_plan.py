from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detaux.data.plan import BlockPlace, find_stand_ins, plan_epoch, plan_windows, split_batch
from detaux.errors import UserError

SIZES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=5)


def place_blocks(sizes):
    """Blocks of the given sizes, shard by shard."""
    shards, slot = [], 0
    for number, shard in enumerate(sizes):
        places = []
        for samples in shard:
            places.append(BlockPlace(f"{number}.tar", 512 * slot, 512 * samples, slot, samples))
            slot += samples
        shards.append(places)
    return shards, slot


def gather(plans):
    return np.concatenate([plan.slots for plan in plans]).tolist()


@settings(deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000), window=st.integers(2, 100))
def test_epoch_holds_every_slot_once_for_any_plan(sizes, seed, epoch, window):
    shards, samples = place_blocks(sizes)
    plans = plan_epoch(shards, seed, epoch, window)
    assert sorted(gather(plans)) == list(range(samples))
    for plan in plans:
        laid_out = [slot for block in plan.blocks for slot in range(block.first_slot, block.first_slot + block.samples)]
        assert plan.slots.tolist() == [laid_out[index] for index in plan.order]


@settings(deadline=None)
@given(sizes=SIZES, window=st.integers(2, 30))
def test_windows_reach_their_size_and_keep_shards_together(sizes, window):
    shards, _ = place_blocks(sizes)
    plans = plan_epoch(shards, 0, 0, window)
    assert all(len(plan.slots) >= window for plan in plans[:-1])
    order = [block.shard for plan in plans for block in plan.blocks]
    assert sum(a != b for a, b in pairwise(order)) == len(shards) - 1


def test_window_larger_than_the_split_shuffles_all_of_it():
    shards, _ = place_blocks([[50, 50], [50, 50]])
    (plan,) = plan_epoch(shards, 1, 0, 10**6)
    assert {slot // 50 for slot in plan.slots[:50].tolist()} == {0, 1, 2, 3}


def test_epoch_is_a_function_of_seed_and_epoch():
    shards, _ = place_blocks([[8] * 10] * 4)
    orders = {(seed, epoch): gather(plan_epoch(shards, seed, epoch, 32)) for seed in (0, 1) for epoch in (0, 1)}
    assert len({tuple(order) for order in orders.values()}) == 4
    assert gather(plan_epoch(shards, 1, 0, 32)) == orders[1, 0]


def test_shards_and_blocks_are_shuffled_too():
    shards, _ = place_blocks([[4] * 8] * 8)
    blocks = [block for plan in plan_epoch(shards, 0, 0, 2) for block in plan.blocks]
    names = list(dict.fromkeys(block.shard for block in blocks))
    assert names != sorted(names)
    inside = [block.first_slot for block in blocks if block.shard == names[0]]
    assert inside != sorted(inside)


@settings(deadline=None)
@given(sizes=SIZES, window=st.integers(2, 30), first=st.integers(0, 400))
def test_windows_from_any_position_continue_the_endless_order(sizes, window, first):
    shards, samples = place_blocks(sizes)
    epochs = first // samples + 2
    endless = [slot for epoch in range(epochs) for slot in gather(plan_epoch(shards, 3, epoch, window))]
    position, plan = next(plan_windows(shards, 3, window, first))
    assert position <= first < position + len(plan.slots)
    assert plan.slots.tolist() == endless[position : position + len(plan.slots)]


def test_windows_follow_one_another_without_gaps():
    shards, _ = place_blocks([[5, 3], [7]])
    windows = list(islice(plan_windows(shards, 0, 4, 0), 20))
    ends = [position + len(plan.slots) for position, plan in windows]
    assert [position for position, _ in windows[1:]] == ends[:-1]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_of_a_batch_follow_one_another(parts):
    found = [position for part in range(parts) for position in split_batch(12, part, parts, "batch_size=12")]
    assert found == list(range(12))


def test_batch_that_does_not_divide_is_refused_with_the_numbers():
    with pytest.raises(UserError, match="batch_size=32 does not divide into 3 equal parts"):
        split_batch(32, 0, 3, "batch_size=32")


@given(is_good=st.lists(st.booleans(), min_size=1, max_size=20))
def test_stand_ins_match_loop_version(is_good):
    count = len(is_good)
    expected = [next((j % count for j in range(i, i + count) if is_good[j % count]), -1) for i in range(count)]
    assert find_stand_ins(np.array(is_good)).tolist() == expected
