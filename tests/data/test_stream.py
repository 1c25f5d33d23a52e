import multiprocessing
import os
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from detaux.config.schema import DataConfig
from detaux.data.file_images import FileImages
from detaux.data.plan import list_blocks, plan_epoch
from detaux.data.schema import read_manifest
from detaux.data.stream import SampleStream, choose_storage
from detaux.errors import UserError

CPU = torch.device("cpu")
WAYS = [DataConfig(window=8, workers=workers, cache=cache) for workers, cache in product((0, 1, 2), ("auto", "none"))]


def open_stream(shards, config, seed=0, needs_factors=False):
    return SampleStream(shards.folder, "train", config, seed=seed, device=CPU, needs_factors=needs_factors)


def walk(stream, count, batch=7, first=0, ahead=7):
    """What `count` samples from `first` on look like, read batch by batch with a window `ahead`."""
    keys, slots, labels, images, valid = [], [], [], [], []
    for start in range(first, first + count, batch):
        window = stream.window(start, max(ahead, batch))
        index = torch.arange(min(batch, first + count - start))
        keys += window.keys(index.tolist())
        slots += window.slots[index].tolist()
        labels += window.labels[index].tolist()
        valid += window.is_valid[index].tolist()
        images.append(window.images(index))
    return keys, slots, labels, valid, torch.cat(images)


def same(one, other):
    return one[:4] == other[:4] and torch.equal(one[4], other[4])


def break_members(*wanted):
    return lambda member, data: [(member, b"broken" if member in wanted else data)]


@pytest.mark.parametrize("layout", ["packed", "standard"])
def test_order_does_not_depend_on_workers_or_cache(build_shards, make, layout):
    shards = build_shards(layout=layout)
    manifest = read_manifest(shards.folder)
    plans = [plan for epoch in (0, 1) for plan in plan_epoch(list_blocks(manifest, "train"), 0, epoch, 8)]
    planned = [slot for plan in plans for slot in plan.slots.tolist()]
    expected = torch.from_numpy(np.stack([make.render(slot) for slot in planned[:60]]))
    for config in WAYS:
        keys, slots, labels, valid, images = walk(open_stream(shards, config), 60)
        assert slots == planned[:60]
        assert keys == [make.name(slot) for slot in slots]
        assert labels == [make.label(slot) for slot in slots]
        assert all(valid)
        assert torch.equal(images, expected)


def test_packed_and_standard_layouts_give_the_same_samples(build_shards):
    packed, standard = (build_shards(layout=layout, folder=layout) for layout in ("packed", "standard"))
    assert same(walk(open_stream(packed, WAYS[1]), 70), walk(open_stream(standard, WAYS[1]), 70))


def test_epoch_shows_every_sample_once(build_shards):
    slots = walk(open_stream(build_shards(), WAYS[1]), 3 * 32)[1]
    for epoch in range(3):
        assert sorted(slots[epoch * 32 : (epoch + 1) * 32]) == list(range(32))


@pytest.mark.parametrize("first", [1, 9, 31, 32, 50, 200])
def test_resume_at_any_position_equals_the_uninterrupted_stream(build_shards, first):
    shards = build_shards()
    whole = walk(open_stream(shards, WAYS[0]), 260, batch=1)
    for config in (WAYS[0], WAYS[1], WAYS[5]):
        rest = walk(open_stream(shards, config), 30, first=first)
        assert rest[0] == whole[0][first : first + 30]
        assert torch.equal(rest[4], whole[4][first : first + 30])


@pytest.mark.parametrize("config", [WAYS[0], WAYS[1], WAYS[5]])
def test_jumps_back_and_forth_give_the_same_samples(build_shards, config):
    stream = open_stream(build_shards(), config)
    once = {first: walk(stream, 14, first=first) for first in (0, 90, 3, 40)}
    for first in (40, 0, 3, 90):
        assert same(walk(stream, 14, first=first), once[first])


@pytest.mark.parametrize("config", [WAYS[0], WAYS[1]])
def test_window_looks_ahead_and_stays_when_the_stream_moves_on(build_shards, config):
    stream = open_stream(build_shards(), config)
    keys, _, labels, _, images = walk(stream, 32 + 20)
    window = stream.window(20, 32)
    walk(stream, 200, first=20)
    assert window.labels.tolist() == labels[20:]
    assert window.keys(list(range(32))) == keys[20:]
    index = torch.tensor([31, 0, 5, 5])
    assert torch.equal(window.images(index), images[20 + index])


@pytest.mark.parametrize("config", WAYS[:2])
def test_window_after_one_that_reaches_far_ahead_holds_what_it_was_asked_for(build_shards, config):
    """Chunks of 8 samples: the stream still holds those from 8 on when it is asked for the first ones again."""
    shards = build_shards()
    stream = open_stream(shards, config)
    stream.window(3, 25)
    for first, count in ((3, 2), (0, 4), (2, 7), (0, 25)):
        window, expected = stream.window(first, count), open_stream(shards, config).window(first, count)
        assert window.slots.tolist() == expected.slots.tolist()
        assert len(window.labels) == count
        stream.window(3, 25)


def test_stream_without_a_cache_reads_the_images_asked_for_and_no_other(build_shards, monkeypatch):
    stream, read = open_stream(build_shards(), WAYS[1]), []
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *arguments: read.append(arguments[2]) or whole(*arguments))
    window = stream.window(4, 20)
    window.keys([0, 19])
    assert read == []
    window.images(torch.tensor([3, 11, 3]))
    assert len(read) == 3
    assert len(set(read)) == 2


def test_held_window_reads_its_images_once(build_shards, monkeypatch):
    shards = build_shards()
    window = open_stream(shards, WAYS[1]).window(4, 20)
    expected = window.images(torch.arange(20))
    size = expected.nbytes
    assert window.hold(size - 1) is window.hold(size)
    monkeypatch.setattr(FileImages, "fill", lambda *arguments: pytest.fail("read again"))
    assert torch.equal(window.images(torch.tensor([19, 2, 2])), expected[[19, 2, 2]])


def test_window_that_is_too_large_to_hold_is_read_where_it_lies(build_shards, monkeypatch):
    window, read, fill = open_stream(build_shards(), WAYS[1]).window(4, 20), [], FileImages.fill
    monkeypatch.setattr(FileImages, "fill", lambda *arguments: read.append(arguments[3]) or fill(*arguments))
    window.hold(window.all_images.shape.numel() - 1)
    assert read == []
    assert torch.equal(window.all_images[torch.tensor([19, 2])], window.images(torch.tensor([19, 2])))
    assert sum(map(len, read)) == 4


@pytest.mark.parametrize("config", WAYS[:2])
def test_set_that_is_built_again_in_its_place_gives_its_new_images(build_shards, config):
    shards = build_shards()
    before = walk(open_stream(shards, config), 32)[4]
    for number in range(2):
        shards.shard(number).unlink()

    def invert(member, data):
        head, pixels = data.split(b"\n", 1)
        is_images = member.endswith("images.npy")
        return [(member, head + b"\n" + bytes(255 - value for value in pixels) if is_images else data)]

    shards.write(invert)
    assert torch.equal(walk(open_stream(shards, config), 32)[4], 255 - before)


def test_windows_of_other_batches_agree(build_shards):
    shards = build_shards()
    one = walk(open_stream(shards, WAYS[1]), 66, batch=1, ahead=1)
    assert same(one, walk(open_stream(shards, WAYS[1]), 66, batch=11, ahead=32))


def test_seeds_and_epochs_give_other_orders(build_shards):
    shards = build_shards()
    zero, one = (walk(open_stream(shards, WAYS[0], seed=seed), 64)[1] for seed in (0, 1))
    assert zero[:32] != one[:32]
    assert zero[:32] != zero[32:]


def test_window_longer_than_an_epoch_is_refused(build_shards):
    stream = open_stream(build_shards(), WAYS[0])
    assert len(stream.window(5, stream.samples).labels) == 32
    with pytest.raises(ValueError, match="33 samples"):
        stream.window(0, 33)


def test_factors_come_only_where_needed(build_shards):
    shards = build_shards()
    for config in WAYS[:2]:
        assert open_stream(shards, config).window(0, 20).factors is None
        window = open_stream(shards, config, needs_factors=True).window(0, 20)
        assert window.factors.tolist() == [[slot // 10, slot % 10] for slot in window.slots.tolist()]


def test_bad_sample_is_replaced_by_the_next_good_one_of_its_block(build_shards, make):
    shards = build_shards(layout="standard", change=break_members("s00006.png", "s00007.png", "s00010.png"))
    shown = {6: 0, 7: 0, 10: 11}  # 7 is the last of its block, so the search begins again at its first
    runs = []
    for config in WAYS:
        stream = open_stream(shards, replace(config, max_bad_fraction=0.1))
        keys, slots, labels, valid, images = walk(stream, 64)
        runs.append((keys, slots, labels, valid, images))
        assert keys == [make.name(shown.get(slot, slot)) for slot in slots]
        assert labels == [make.label(shown.get(slot, slot)) for slot in slots]
        assert valid == [slot not in shown for slot in slots]
        assert stream.bad == 3
    assert all(same(runs[0], run) for run in runs[1:])


def test_bad_block_is_replaced_by_the_next_good_samples_of_its_window(build_shards, make):
    shards = build_shards(sizes=((4, 4, 4, 4),) * 2, change=break_members("b00008.images.npy"))
    runs = []
    for config in WAYS:
        stream = open_stream(shards, replace(config, max_bad_fraction=0.2))
        run = walk(stream, 64)
        keys, slots, _, valid, _ = run
        for position, slot in enumerate(slots):
            begin = position - position % 8  # the planned windows are of 8 samples
            here = [slots[begin + (position + step) % 8] for step in range(8)]
            expected = next(other for other in here if not 8 <= other < 12)
            assert keys[position] == make.name(expected)
            assert valid[position] == (slot == expected)
        runs.append(run)
        assert stream.bad == 4
    assert all(same(runs[0], run) for run in runs[1:])


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_window_without_any_good_sample_is_refused(build_shards, cache):
    shards = build_shards(sizes=((4, 4), (4, 4)), change=break_members("b00000.images.npy", "b00004.images.npy"))
    stream = open_stream(shards, DataConfig(window=8, cache=cache, max_bad_fraction=0.9))
    with pytest.raises(UserError, match=r"none of 8 neighbouring samples.*data\.window"):
        walk(stream, 32)


@pytest.mark.parametrize("config", WAYS)
def test_too_many_bad_samples_stop_the_stream(build_shards, config):
    shards = build_shards(layout="standard", change=break_members("s00003.png"))
    with pytest.raises(UserError, match=r"1 of 32 .*data\.max_bad_fraction=0\.01 .*s00003\.png"):
        walk(open_stream(shards, config), 32)


def test_workers_end_with_the_stream(build_shards):
    stream = open_stream(build_shards(layout="standard"), WAYS[5])
    stream.window(0, 4)
    assert len(multiprocessing.active_children()) == 2
    stream.window(90, 4)
    assert len(multiprocessing.active_children()) == 2
    del stream
    assert multiprocessing.active_children() == []


def test_packed_images_in_their_files_need_no_workers(build_shards):
    stream = open_stream(build_shards(), WAYS[5])
    stream.window(0, 4)
    assert multiprocessing.active_children() == []


def test_cache_auto_keeps_what_fits():
    for limit, expected in ((999, None), (1000, CPU)):
        assert choose_storage(DataConfig(cache_bytes=limit), 1000, CPU) == expected
    assert choose_storage(DataConfig(cache="host", cache_bytes=0), 1000, torch.device("cuda")) == CPU
    assert choose_storage(DataConfig(cache="none"), 1000, CPU) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; the CPU tests above cover the same order")
@pytest.mark.parametrize("cache", ["device", "host", "none"])
def test_images_on_a_gpu_equal_those_on_the_host(build_shards, cache):
    shards = build_shards()
    stream = SampleStream(
        shards.folder, "train", DataConfig(window=8, cache=cache), seed=0, device=torch.device("cuda")
    )
    images = walk(stream, 70)[4]
    assert images.is_cuda
    assert torch.equal(images.cpu(), walk(open_stream(shards, WAYS[0]), 70)[4])
