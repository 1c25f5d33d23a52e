import gzip
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.utils.data import get_worker_info

from detaux.config.schema import DataConfig
from detaux.data import split as split_module
from detaux.data.schema import read_manifest, write_manifest
from detaux.data.split import Split, SplitReader, load_split
from detaux.errors import UserError

CPU = torch.device("cpu")
LAX = DataConfig(max_bad_fraction=1.0)


def leave_in_files(folder, split, config, device):
    """What load_split gives, of blocks whose images stay in their files until they are taken."""
    reader = SplitReader(folder, split, config)
    table = reader.blank_table(reader.samples, needs_factors=True, in_files=True)
    for block in reader.read(partial(iter, reader.places), in_files=True):
        table.put(block.place.first_slot, block.table)
    good = torch.from_numpy(np.flatnonzero(table.is_good))
    keys = [table.keys[row] for row in good.tolist()]
    return Split(table.take(good), table.labels[good], keys, table.factors[good])


@pytest.fixture(params=[load_split, leave_in_files], ids=["in memory", "in files"])
def load(request):
    """load(shards, config): the training split, read either way."""
    return lambda shards, config=LAX: request.param(shards.folder, "train", config, CPU)


def replace_member(wanted, *others):
    """A change for ShardSet.write: put `others` in the place of the member `wanted`."""
    return lambda member, data: list(others) if member == wanted else [(member, data)]


def link(path, target):
    info = tarfile.TarInfo(path)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def damage(path, position, flip=0xFF):
    data = bytearray(path.read_bytes())
    data[position] ^= flip
    path.write_bytes(data)


def check_samples(split, make, slots):
    """The split holds the samples of these slots and no others."""
    assert split.keys == [make.name(slot) for slot in slots]
    assert split.labels.tolist() == [make.label(slot) for slot in slots]
    assert split.factors.tolist() == [[slot // 10, slot % 10] for slot in slots]
    assert torch.equal(split.images, torch.from_numpy(np.stack([make.render(slot) for slot in slots])))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("layout", ["packed", "standard"])
def test_split_holds_every_sample_in_manifest_order(load, build_shards, make, layout, workers):
    split = load(build_shards(layout=layout), DataConfig(workers=workers))
    check_samples(split, make, range(32))


def test_split_that_is_empty_is_refused(build_shards):
    with pytest.raises(UserError, match="no samples in the test split"):
        load_split(build_shards().folder, "test", LAX, CPU)


# case: member replaced, what takes its place, what the log must say
BAD_SAMPLES = {
    "no image": ("s00009.png", lambda make: [], "s00009: one image member"),
    "cut image": ("s00009.png", lambda make: [("s00009.png", make.png(make.render(9))[:60])], r"s00009\.png"),
    "png called jpg": ("s00009.png", lambda make: [("s00009.jpg", make.png(make.render(9)))], r"s00009\.jpg"),
    "other size": (
        "s00009.png",
        lambda make: [("s00009.png", make.png(make.render(9)[:4]))],
        "s00009: images are 4x8x3",
    ),
    "label that is no number": ("s00009.cls", lambda make: [("s00009.cls", b"even")], r"s00009\.cls"),
    "label out of range": ("s00009.cls", lambda make: [("s00009.cls", b"2")], "s00009: a label is not in -1 to 1"),
    "no factors": ("s00009.json", lambda make: [], "s00009: 0 factors, not 2"),
    "unknown suffix": ("s00009.json", lambda make: [("s00009.py", b"raise SystemExit")], r"s00009\.py"),
}


@pytest.mark.parametrize("case", BAD_SAMPLES)
def test_bad_sample_is_left_out_and_named_once(load, build_shards, make, caplog, case):
    member, others, message = BAD_SAMPLES[case]
    shards = build_shards(layout="standard", change=replace_member(member, *others(make)))
    with caplog.at_level(logging.WARNING):
        split = load(shards)
    check_samples(split, make, [slot for slot in range(32) if slot != 9])
    (record,) = caplog.records
    assert record.getMessage().startswith("quarantined: train-000.tar: ")
    assert re.search(message, record.getMessage())


LABELS, KEYS, IMAGES = "b00008.labels.npy", "b00008.keys.txt", "b00008.images.npy"
BAD_BLOCKS = {
    "missing field": (LABELS, lambda make: [], r"b00008\.labels\.npy: missing"),
    "fewer images": (IMAGES, lambda make: [(IMAGES, make.npy(np.zeros((3, 8, 8, 3), np.uint8)))], "disagree"),
    "label out of range": (LABELS, lambda make: [(LABELS, make.npy(np.full(8, 9)))], "b00008: a label is not in"),
    "parent path": (KEYS, lambda make: [("../../b00008.keys.txt", b"x\n" * 8)], r"\.\./\.\./b00008"),
    "absolute path": (KEYS, lambda make: [("/tmp/b00008.keys.txt", b"x\n" * 8)], "/tmp/b00008"),
    "link": (KEYS, lambda make: [(link(KEYS, "/etc/passwd"), b"")], r"b00008\.keys\.txt is a link"),
    "group too many": (KEYS, lambda make: [(KEYS, b"x\n" * 8), ("c.keys.txt", b"x\n")], "[0-9] member groups, not 1"),
}


@pytest.mark.parametrize("case", BAD_BLOCKS)
def test_bad_block_is_left_out_and_named_once(load, build_shards, make, caplog, case):
    member, others, message = BAD_BLOCKS[case]
    shards = build_shards(change=replace_member(member, *others(make)))
    with caplog.at_level(logging.WARNING):
        split = load(shards)
    check_samples(split, make, [slot for slot in range(32) if not 8 <= slot < 16])
    (record,) = caplog.records
    assert "train-000.tar" in record.getMessage()
    assert re.search(message, record.getMessage())


def test_object_array_is_refused_unread(load, build_shards, make, trap):
    objects = np.empty(8, dtype=object)
    objects[:] = [trap] * 8
    shards = build_shards(change=replace_member(LABELS, (LABELS, make.npy(objects))))
    assert make.name(9) not in load(shards).keys
    assert not trap.mark.exists()


@pytest.mark.parametrize("layout", ["packed", "standard"])
@pytest.mark.parametrize("suffix", ["pkl", "pyd", "pth"])
def test_pickle_member_is_never_executed(load, build_shards, make, tmp_path, trap, layout, suffix):
    program = (f"{'b00008' if layout == 'packed' else 's00009'}.{suffix}", pickle.dumps(trap))
    member = "b00008.keys.txt" if layout == "packed" else "s00009.cls"
    shards = build_shards(layout=layout, change=replace_member(member, (member, b"0"), program))
    before = sorted(tmp_path.rglob("*"))
    assert make.name(9) not in load(shards).keys
    assert sorted(tmp_path.rglob("*")) == before


def test_block_that_is_compressed_is_not_inflated(load, build_shards):
    shards = build_shards()
    place = SplitReader(shards.folder, "train", LAX).places[0]
    data = shards.shard(0).read_bytes()
    inside = gzip.compress(data[: place.size])
    shards.shard(0).write_bytes(inside + bytes(place.size - len(inside)) + data[place.size :])
    assert len(load(shards.sign()).keys) == 32 - place.samples


def test_name_that_begins_like_a_compressed_file_is_read_as_a_name(load, build_shards):
    key = "BZh91AY&SY"  # the first ten bytes of a bzip2 file
    shards = build_shards(layout="standard", change=lambda member, data: [(member.replace("s00008", key), data)])
    assert load(shards).keys[8] == key


def test_header_with_a_flipped_byte_makes_its_block_bad(load, build_shards, make):
    shards = build_shards()
    place = SplitReader(shards.folder, "train", LAX).places[1]
    damage(shards.shard(0), place.offset + 3)
    assert load(shards.sign()).keys == [make.name(slot) for slot in range(32) if not 8 <= slot < 16]


@pytest.mark.parametrize("change", ["flipped pixel", "cut", "missing", "outside"])
def test_shard_other_than_the_manifest_says_is_quarantined_whole(load, build_shards, make, caplog, change):
    shards = build_shards()
    path = shards.shard(1)
    if change == "flipped pixel":
        damage(path, 700, flip=1)
    elif change == "cut":
        path.write_bytes(path.read_bytes()[:-1500])
    elif change == "missing":
        path.unlink()
    else:
        manifest = read_manifest(shards.folder)
        object.__setattr__(manifest.shards[1], "name", "../shards/train-001.tar")
        write_manifest(shards.folder, manifest)
    with caplog.at_level(logging.WARNING):
        split = load(shards)
    assert split.keys == [make.name(slot) for slot in range(21)]
    (record,) = caplog.records
    assert "train-001.tar" in record.getMessage()


def test_too_many_bad_samples_are_refused_with_count_and_name(load, build_shards):
    def change(member, data):
        return [(member, b"broken")] if member in ("s00003.png", "s00009.png", "s00030.png") else [(member, data)]

    shards = build_shards(layout="standard", change=change)
    with pytest.raises(UserError, match=r"3 of 32 .*data.max_bad_fraction=0.08 .*train-001.tar: s00030.png"):
        load(shards, DataConfig(max_bad_fraction=0.08))
    assert len(load(shards, DataConfig(max_bad_fraction=0.1)).keys) == 29


def test_truncated_tar_beyond_the_limit_is_refused_by_name(load, build_shards):
    shards = build_shards()
    shards.shard(0).write_bytes(shards.shard(0).read_bytes()[:2000])
    with pytest.raises(UserError, match="train-000.tar has 2000 bytes"):
        load(shards, DataConfig())


def test_random_damage_never_raises_anything_but_is_told(build_shards):
    draw, found = np.random.default_rng(0), 0
    for layout in ("packed", "standard"):
        shards = build_shards(layout=layout, folder=layout)
        clean = shards.shard(0).read_bytes()
        for _ in range(40):
            data = bytearray(clean)
            for position in draw.integers(0, len(data), 20):
                data[position] = draw.integers(256)
            shards.shard(0).write_bytes(data)
            shards.sign()
            reader = SplitReader(shards.folder, "train", LAX)
            table = reader.read_table(CPU, needs_factors=True)
            assert reader.bad == (~table.is_good).sum()
            found += reader.bad
            whole, left = load_split(shards.folder, "train", LAX, CPU), leave_in_files(shards.folder, "train", LAX, CPU)
            assert left.keys == whole.keys
            assert torch.equal(left.images, whole.images)
    assert found > 0


def test_member_of_a_size_below_zero_makes_its_block_bad(load, build_shards, make):
    """As a base-256 number, which tarfile takes."""
    shards = build_shards()
    place = SplitReader(shards.folder, "train", LAX).places[1]
    data = bytearray(shards.shard(0).read_bytes())
    header = data.index(b"b00008.factors.npy", place.offset)
    data[header + 124 : header + 136] = b"\xff" * 12
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
    shards.shard(0).write_bytes(data)
    assert load(shards.sign()).keys == [make.name(slot) for slot in range(32) if not 8 <= slot < 16]


def test_suffixes_are_read_in_any_case(load, build_shards, make):
    shards = build_shards(change=lambda member, data: [(member.replace(".images.", ".Images."), data)])
    split = load(shards, DataConfig())
    assert split.keys == [make.name(slot) for slot in range(32)]
    assert torch.equal(split.images[9], torch.from_numpy(make.render(9)))


def test_reading_leaves_the_random_state_of_the_run_alone(load, build_shards):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    load(build_shards(), DataConfig(workers=1))
    assert torch.equal(before, torch.random.get_rng_state())


def fail_in_worker(monkeypatch, act):
    """Have loader processes call act() in place of reading their second block."""
    whole = split_module.read_block

    def read(folder, manifest, place, *, in_files):
        if get_worker_info() and place.first_slot:
            act()
        return whole(folder, manifest, place, in_files=in_files)

    monkeypatch.setattr(split_module, "read_block", read)


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (lambda: os._exit(3), r"ended \(DataLoader worker .*exited unexpectedly"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), r"ended \(DataLoader worker "),
        (lambda: time.sleep(60), r"gave nothing for data\.worker_timeout=1 seconds"),
    ],
    ids=["exit", "kill", "hang"],
)
def test_loader_process_that_dies_or_hangs_is_one_sentence(monkeypatch, build_shards, act, fault):
    fail_in_worker(monkeypatch, act)
    config = DataConfig(workers=1, worker_timeout=1.0)
    with pytest.raises(UserError, match=rf"a loader process of data\.workers=1 {fault}.*; .*shared memory"):
        load_split(build_shards().folder, "train", config, CPU)


def test_block_that_a_loader_process_cannot_send_is_missed(monkeypatch, build_shards):
    """As where shared memory is full: multiprocessing drops what it cannot send, and the loader goes on."""
    whole = split_module.read_block

    def read(folder, manifest, place, *, in_files):
        block = whole(folder, manifest, place, in_files=in_files)
        return replace(block, problems=[lambda: None]) if place.first_slot == 8 else block  # which no pickle can hold

    monkeypatch.setattr(split_module, "read_block", read)
    with pytest.raises(UserError, match=r"the block at byte \d+ of .*\.tar did not come from the loader processes"):
        load_split(build_shards(sizes=((8, 8, 8),)).folder, "train", DataConfig(workers=2, worker_timeout=20.0), CPU)


def test_sample_that_no_stage_read_is_missed(monkeypatch, build_shards):
    whole = SplitReader.read
    monkeypatch.setattr(SplitReader, "read", lambda *arguments: iter(list(whole(*arguments))[:-1]))
    with pytest.raises(UserError, match=r"29 of 32 samples in the train split of .* were read and 0 cannot be"):
        load_split(build_shards().folder, "train", LAX, CPU)


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="mounts need root and namespaces")
def test_loader_processes_need_no_shared_memory_for_images(build_shards):
    """A container has 64 MiB of it; here 256 KiB, of which each block alone needs more."""
    folder = build_shards(sizes=((2048, 2048),)).folder
    code = f"""
import torch
from pathlib import Path
from detaux.config.schema import DataConfig
from detaux.data.split import load_split
print(len(load_split(Path({str(folder)!r}), "train", DataConfig(workers=2), torch.device("cpu")).keys))
"""
    mount = 'mount -t tmpfs -o size=256k tmpfs /dev/shm && exec "$0" -c "$1"'
    command = ["unshare", "-m", "bash", "-c", mount, sys.executable, code]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "4096\n"), result.stderr
