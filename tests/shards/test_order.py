"""Any split of an epoch over ranks, stopped and gone on with by other ranks, reads each sample exactly once."""

import functools
import random
from collections import Counter

import pytest

from detaux.cli import run_command
from detaux.config import load_config
from detaux.data.schema import read_manifest
from shards.build import build_shards
from shards.order import OrderQuery, list_keys

PLANS = 30


def build(folder, draw):
    """A shard set of a random small grid, in blocks and shards of random sizes."""
    grid = [draw.randint(3, 4), draw.randint(1, 3), draw.randint(1, 3), draw.randint(2, 4), draw.randint(1, 2), 1]
    block = draw.randint(1, 9)
    shard = block * draw.choice([1, 2, 3, 1000])
    config = load_config(
        None,
        [
            "data.source=shapes3d",
            "data.principal=scale",
            f"data.grid={grid}",
            "data.side=8",
            f"data.block_samples={block}",
            f"data.shard_samples={shard}",
            "data.test_fraction=0.1",
        ],
    )
    build_shards(config, folder)
    return folder


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """plan(number): the shard set of a random plan, built once, and the draws that go on from there."""
    folder = tmp_path_factory.mktemp("plans")

    @functools.cache
    def make(number):
        draw = random.Random(number)
        return build(folder / str(number), draw), draw.getstate()

    def get(number):
        built, state = make(number)
        draw = random.Random()
        draw.setstate(state)
        return built, draw

    return get


def read(folder, world, **query):
    """The keys that all ranks of a world see."""
    found = [list(list_keys(folder, OrderQuery(world=world, rank=rank, **query))) for rank in range(world)]
    return Counter(key for keys in found for key in keys)


@pytest.mark.parametrize("number", range(PLANS))
def test_stopped_epoch_goes_on_at_another_world_size_without_loss_or_repetition(plan, number):
    folder, draw = plan(number)
    settings = {"seed": draw.randint(0, 99), "window": draw.choice([2, 7, 30, 4096]), "epoch": draw.randint(0, 3)}
    whole = read(folder, 1, batch=1, **settings)
    samples = whole.total()
    assert set(whole.values()) == {1}

    batch = draw.choice([2, 4, 6, 12])
    stop = batch * draw.randint(0, (samples - 1) // batch)
    before = Counter()
    for rank in range(2):
        query = OrderQuery(world=2, rank=rank, batch=batch, workers=draw.choice([0, 0, 0, 1, 2]), **settings)
        keys = list(list_keys(folder, query))
        # a rank takes half of each batch, so it has taken this many when the run stops
        before.update(keys[: stop // 2])
    for world in (1, 3):
        workers = draw.choice([0, 0, 0, 2])
        after = read(folder, world, start=stop, batch=world * draw.randint(1, 5), workers=workers, **settings)
        assert before + after == whole


def test_random_plans_include_the_hard_ones(plan):
    """One shard, more ranks than shards, a ragged last block."""
    seen = set()
    for number in range(PLANS):
        folder, _ = plan(number)
        shards = [shard for shard in read_manifest(folder).shards if shard.split == "train"]
        blocks = [block.samples for shard in shards for block in shard.blocks]
        seen |= {"one shard"} if len(shards) == 1 else set()
        seen |= {"fewer shards than ranks"} if 1 < len(shards) < 3 else set()
        seen |= {"ragged"} if blocks[-1] < max(blocks) else set()
    assert seen == {"one shard", "fewer shards than ranks", "ragged"}


def test_order_prints_the_keys_of_a_rank(plan, capsys):
    folder, _ = plan(0)
    capsys.readouterr()
    arguments = ["shards", "order", str(folder), "world=3", "rank=1", "workers=2", "epoch=0", "start=4", "batch=6"]
    assert run_command(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == list(list_keys(folder, OrderQuery(world=3, rank=1, start=4, batch=6)))
    assert printed


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("wrold=3", "'wrold=3' is not allowed; shards order takes these keys, with whole numbers: world=1, rank=0"),
        ("rank=x", "'rank=x' is not allowed"),
        ("rank=1", "rank=1 is not below world=1"),
        ("start=100000", "start=100000 is not below"),
    ],
)
def test_order_refuses_what_it_cannot_list(plan, capsys, argument, sentence):
    folder, _ = plan(0)
    assert run_command(["shards", "order", str(folder), argument]) == 2
    assert sentence in capsys.readouterr().err


def test_order_refuses_a_batch_that_does_not_divide_with_the_numbers(plan, capsys):
    folder, _ = plan(0)
    assert run_command(["shards", "order", str(folder), "world=3", "batch=64"]) == 2
    assert "batch=64 does not divide into 3 equal parts" in capsys.readouterr().err
