import hashlib
import multiprocessing
import signal
import tarfile
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from made_sets import write_cars, write_cifar10, write_faces, write_svhn
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from webdataset.tariterators import base_plus_ext

import shards.build
from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.data.decode import decode_group, iterate_groups
from detaux.data.schema import Shard, read_manifest
from detaux.data.split import load_split
from detaux.errors import UserError
from detaux.runtime.record import compute_inputs_hash, hash_inputs, is_done
from shards.build import build_shards, hide_labels, list_inputs, make_keys
from shards.datasets.shapes3d import open_shapes3d
from shards.records import Records, Source
from shards.write import Samples

MakeConfig = Callable[..., Config]
Build = Callable[..., Path]
ReadSamples = Callable[[Path], dict[str, Any]]
PARITY = "data.principal={even: [0, 2, 4, 6, 8], odd: [1, 3, 5, 7, 9]}"


def hash_files(folder: Path) -> dict[str, str]:
    files = [*folder.glob("*.tar"), folder / "manifest.json"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("layout", ["packed", "standard"])
def test_set_holds_every_scene_once_with_its_label_factors_and_pixels(
    build: Build, read_samples: ReadSamples, read_images: Callable[[Source], np.ndarray], layout: str
) -> None:
    folder = build(layout)
    samples = read_samples(folder)
    source = open_shapes3d(DataConfig(side=16, grid=[2, 2, 2, 2, 4, 2]))
    images = read_images(source)
    assert len(samples) == source.count == 128
    for key, (_, label, pixels, factors) in samples.items():
        index = int(key)
        assert pixels == images[index].tobytes()
        assert factors == tuple(source.factor_values[index])
        assert label == source.factor_values[index, 4]


@pytest.mark.parametrize("layout", ["packed", "standard"])
def test_digits_read_back_are_those_of_scikit_learn_and_teach_a_nearest_neighbour(
    make_config: MakeConfig, tmp_path: Path, layout: str
) -> None:
    config = make_config("digits", "data.side=8", f"data.layout={layout}")
    build_shards(config, tmp_path)
    train, test = (load_split(tmp_path, name, config.data, torch.device("cpu")) for name in ("train", "test"))
    digits = load_digits()
    for split in (train, test):
        index = np.array(split.keys, dtype=int)
        np.testing.assert_array_equal(split.labels, digits.target[index])
        np.testing.assert_allclose(split.images[..., 0] / 255, digits.images[index] / 16, atol=0.5 / 255)
    nearest = KNeighborsClassifier(1).fit(train.images.flatten(1), train.labels)
    assert nearest.score(test.images.flatten(1), test.labels) > 0.95


def test_manifest_describes_the_tars(build: Build, read_samples: ReadSamples) -> None:
    folder = build()
    manifest = read_manifest(folder)
    samples = read_samples(folder)
    assert manifest.classes == ["0", "1", "2", "3"]
    assert manifest.principal == "shape"
    assert manifest.factors == {
        "floor_hue": 2, "wall_hue": 2, "object_hue": 2, "scale": 2, "shape": 4, "orientation": 2,
    }  # fmt: skip
    for split in ("train", "validation", "test"):
        assert manifest.count(split) == sum(sample[0] == split for sample in samples.values())
    for shard in manifest.shards:
        path = folder / shard.name
        assert path.stat().st_size == shard.size
        assert hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256
        assert shard.samples <= 32
        assert all(block.samples <= 8 for block in shard.blocks)
        with tarfile.open(path) as tar:
            headers = {member.offset: member for member in tar}
        assert all(block.offset in headers for block in shard.blocks)
        assert all(member.mtime == member.uid == member.gid == 0 for member in headers.values())
        assert not any(member.uname or member.gname for member in headers.values())


def test_blocks_mix_the_classes(build: Build) -> None:
    folder = build("packed", "data.test_fraction=0.001", "data.validation_fraction=0.001")
    manifest = read_manifest(folder)
    with (folder / manifest.shards[0].name).open("rb") as stream:
        blocks = [decode_group(group, "packed", 16, 3) for group in iterate_groups(stream)]
    assert min(len(set(block.labels.tolist())) for block in blocks) > 1


def test_hidden_labels_are_a_share_of_every_class_of_the_training_split() -> None:
    labels = np.array([0] * 100 + [1] * 20 + [2] * 3 + [-1] * 50 + [0] * 40)
    names = np.array(["train"] * 173 + ["test"] * 40)
    kept = hide_labels(labels, names, 0.1, 0)
    assert np.bincount(kept[:173] + 1).tolist() == [160, 10, 2, 1]
    assert (kept[173:] == 0).all()
    assert ((kept == labels) | (kept == -1)).all()


def test_smaller_labelled_fractions_nest_in_larger_ones() -> None:
    labels, names = np.arange(600) % 3, np.full(600, "train")
    small, large = (set(np.flatnonzero(hide_labels(labels, names, share, 3) >= 0)) for share in (0.1, 0.3))
    assert small < large
    assert small != set(np.flatnonzero(hide_labels(labels, names, 0.1, 4) >= 0))
    np.testing.assert_array_equal(hide_labels(labels, names, 1.0, 3), labels)


@pytest.mark.parametrize("layout", ["packed", "standard"])
def test_hidden_labels_are_in_no_tar(build: Build, read_samples: ReadSamples, layout: str) -> None:
    samples = read_samples(build(layout, "data.labelled_fraction=0.25")).values()
    train = [label for split, label, *_ in samples if split == "train"]
    assert 0.2 < np.mean(np.array(train) >= 0) < 0.35
    assert all(label >= 0 for split, label, *_ in samples if split != "train")


def test_build_takes_images_a_block_at_a_time(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    take, sizes = Samples.take, []
    monkeypatch.setattr(Samples, "take", lambda samples, index: sizes.append(len(index)) or take(samples, index))
    build("packed")
    assert sum(sizes) == 128
    assert max(sizes) == 8  # data.block_samples, while a tar has 32


@pytest.mark.parametrize(
    ("name", "rule"), [("cifar10", "published"), ("svhn", "published"), ("cars", "published"), ("faces", "group")]
)
def test_build_names_the_split_that_keeps_a_published_set_apart_once(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, rule: str
) -> None:
    write = {"cifar10": write_cifar10, "svhn": write_svhn, "cars": write_cars, "faces": write_faces}[name]
    path = tmp_path / "files"
    if name == "cifar10":
        path.mkdir()
    write(path)
    build_shards(make_config(name, f"data.path={path}"), tmp_path / "random")
    assert capsys.readouterr().out.count(f"; data.split={rule} keeps ") == 1
    build_shards(make_config(name, f"data.path={path}", f"data.split={rule}"), tmp_path / "apart")
    assert "data.split" not in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["packed", "standard"])
def test_two_builds_are_byte_equal(make_config: MakeConfig, tmp_path: Path, layout: str) -> None:
    config = make_config("digits", PARITY, f"data.layout={layout}")
    for name in ("first", "second"):
        build_shards(config, tmp_path / name)
    assert hash_files(tmp_path / "first") == hash_files(tmp_path / "second")
    build_shards(make_config("digits", PARITY, f"data.layout={layout}", "data.split_seed=1"), tmp_path / "third")
    assert hash_files(tmp_path / "first") != hash_files(tmp_path / "third")


def test_mapping_keeps_the_old_class_as_a_factor(
    make_config: MakeConfig, tmp_path: Path, read_samples: ReadSamples
) -> None:
    manifest = build_shards(make_config("digits", PARITY), tmp_path / "set")
    assert manifest.classes == ["even", "odd"]
    assert manifest.factors == {"digit": 10}
    assert all(label == factors[0] % 2 for _, label, _, factors in read_samples(tmp_path / "set").values())


def test_plain_classes_leave_no_factor(make_config: MakeConfig, tmp_path: Path, read_samples: ReadSamples) -> None:
    assert build_shards(make_config("digits"), tmp_path / "set").factors == {}
    assert all(factors is None for _, _, _, factors in read_samples(tmp_path / "set").values())


def test_record_says_done_for_the_same_config_only(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("digits")
    build_shards(config, tmp_path / "set")
    assert is_done(tmp_path / "set", compute_inputs_hash("shards", config, hash_inputs(list_inputs(config))))
    other = make_config("digits", "data.split_seed=3")
    assert not is_done(tmp_path / "set", compute_inputs_hash("shards", other, hash_inputs(list_inputs(other))))


def test_record_says_not_done_once_the_pictures_change(
    make_config: MakeConfig, write_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_pictures(cats=5, dogs=5)
    config = make_config("folder", f"data.path={root}")
    build_shards(config, tmp_path / "set")
    assert is_done(tmp_path / "set", compute_inputs_hash("shards", config, hash_inputs(list_inputs(config))))
    (root / "cats" / "000.png").rename(root / "cats" / "new.png")
    assert not is_done(tmp_path / "set", compute_inputs_hash("shards", config, hash_inputs(list_inputs(config))))


def test_folder_set_names_the_pictures_left_out(
    make_config: MakeConfig, write_pictures: Callable[..., Path], tmp_path: Path, read_samples: ReadSamples
) -> None:
    root = write_pictures(cats=20, dogs=20)
    (root / "cats" / "broken.png").write_bytes(b"no picture")
    manifest = build_shards(make_config("folder", f"data.path={root}"), tmp_path / "set")
    assert [entry["file"] for entry in manifest.quarantined] == ["cats/broken.png"]
    samples = read_samples(tmp_path / "set")
    assert len(samples) == 40
    assert all(manifest.classes[label] == key.split("/")[0] for key, (_, label, _, _) in samples.items())


WORDS = st.text(st.sampled_from("a_./-日é "), min_size=1, max_size=200)


@given(st.lists(WORDS, min_size=1, max_size=8, unique=True))
def test_keys_are_unique_and_survive_webdataset(names: list[str]) -> None:
    fields = {"factors": {}, "value_names": {}, "default_principal": "", "factor_values": np.zeros((0, 0))}
    source = Source(name="toy", count=len(names), published_split=None, read=lambda: iter(()), keys=names, **fields)
    keys = make_keys(source)
    assert len(set(keys)) == len(names)
    for key in keys:
        assert base_plus_ext(f"{key}.png") == (key, "png")
        assert not key.startswith(("_", "/"))
        assert len(key) <= 95


def test_class_folders_in_another_script_are_not_lost(
    make_config: MakeConfig, write_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_pictures(写真集会=5, 動物園前=5)
    build_shards(make_config("folder", f"data.path={root}", "data.layout=standard"), tmp_path / "set")
    tars = [str(path) for path in sorted((tmp_path / "set").glob("*.tar"))]
    stock = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).decode("rgb8")
    assert len(list(stock)) == 10


def test_key_leads_back_to_the_name_that_it_was_made_of(
    make_config: MakeConfig, write_pictures: Callable[..., Path], tmp_path: Path, read_samples: ReadSamples
) -> None:
    root = write_pictures(写真=3, cats=3)
    manifest = build_shards(make_config("folder", f"data.path={root}"), tmp_path / "set")
    names = read_manifest(tmp_path / "set").names
    assert names == manifest.names
    assert {names[key] for key in read_samples(tmp_path / "set")} == {
        f"{folder}/{number:03d}.png" for folder in ("写真", "cats") for number in range(3)
    }


def test_classes_and_their_counts_are_in_the_manifest(
    make_config: MakeConfig, write_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    root = write_pictures(cats=20, dogs=30, unlabelled=7)
    build_shards(make_config("folder", f"data.path={root}", "data.labelled_fraction=0.1"), tmp_path / "set")
    manifest = read_manifest(tmp_path / "set")
    assert manifest.class_counts == [20, 30]
    assert manifest.describe_classes() == "2 classes: cats 20, dogs 30; 7 samples without a label"


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/{a,b}/*.tar", "/?/0.tar"])
@pytest.mark.parametrize("change", ["added", "replaced", "removed"])
def test_set_of_tars_is_built_anew_once_they_change(
    make_config: MakeConfig, tmp_path: Path, pattern: str, change: str
) -> None:
    root = tmp_path / "tars"
    flat = pattern in ("", "/*.tar")
    for folder in ("a", "b"):
        (root if flat else root / folder).mkdir(parents=True, exist_ok=True)
        (root / (f"{folder}.tar" if flat else f"{folder}/0.tar")).write_bytes(folder.encode())
        (root / (f"{folder}-1.tar" if flat else f"{folder}/1.tar")).write_bytes(b"stays")
    config = make_config("webdataset", f"data.path={root}{pattern}")
    before = hash_inputs(list_inputs(config))
    assert before
    assert hash_inputs(list_inputs(config)) == before
    first = root / ("a.tar" if flat else "a/0.tar")
    if change == "removed":
        first.unlink()
    elif change == "replaced":
        first.write_bytes(b"another")
    else:
        first.with_name("c.tar").write_bytes(b"c")
    assert (hash_inputs(list_inputs(config)) != before) == (pattern != "/?/0.tar" or change != "added")


@pytest.mark.parametrize("layout", ["packed", "standard"])
def test_stock_webdataset_reads_the_tars(build: Build, read_samples: ReadSamples, layout: str) -> None:
    folder = build(layout)
    tars = [str(folder / shard.name) for shard in read_manifest(folder).shards]
    found = {}
    for sample in webdataset.WebDataset(tars, shardshuffle=False).decode("rgb8"):
        if layout == "packed":
            keys = sample["keys.txt"].split()
            found.update(zip(keys, zip(sample["labels.npy"].tolist(), sample["images.npy"], strict=True), strict=True))
        else:
            found[sample["__key__"]] = (sample["cls"], sample["png"])
    expected = read_samples(folder)
    assert found.keys() == expected.keys()
    for key, (label, image) in found.items():
        assert label == expected[key][1]
        assert image.tobytes() == expected[key][2]


def build_slowly(config: Config, folder: Path, wrote: SimpleQueue) -> None:
    """Build in a process of its own, which tells of each tar and then waits."""
    write_shard = shards.build.write_shard

    def write_slowly(*arguments: Any) -> Shard:
        shard = write_shard(*arguments)
        wrote.put(shard.name)
        time.sleep(0.2)
        return shard

    shards.build.write_shard = write_slowly
    build_shards(config, folder)


@pytest.mark.parametrize("shards_written", [1, 4])
def test_killed_build_leaves_no_set_and_the_same_command_finishes_it(
    make_config: MakeConfig, tmp_path: Path, shards_written: int
) -> None:
    config = make_config("shapes3d", "data.side=16", "data.grid=[2,2,2,2,4,2]", "data.shard_samples=16")
    fork = multiprocessing.get_context("fork")
    wrote = fork.SimpleQueue()
    process = fork.Process(target=build_slowly, args=(config, tmp_path / "set", wrote))
    process.start()
    for _ in range(shards_written):
        wrote.get()
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.raises(UserError, match="no finished shard set"):
        read_manifest(tmp_path / "set")

    build_shards(config, tmp_path / "set")
    build_shards(config, tmp_path / "fresh")
    assert hash_files(tmp_path / "set") == hash_files(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "set"]


def test_failed_rebuild_keeps_the_finished_set(make_config: MakeConfig, tmp_path: Path) -> None:
    build_shards(make_config("digits"), tmp_path / "set")
    before = hash_files(tmp_path / "set")
    with pytest.raises(UserError):
        build_shards(make_config("digits", "data.split=published"), tmp_path / "set")
    assert hash_files(tmp_path / "set") == before


def test_source_that_changes_while_it_is_read_is_refused(
    make_config: MakeConfig, make_source: Callable[..., Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = make_source([0, 1] * 10, read=lambda: iter([Records(np.zeros((19, 16, 16, 3), np.uint8))]))
    monkeypatch.setattr("shards.build.open_source", lambda data: short)
    with pytest.raises(UserError, match="19 images, but 20 were found"):
        build_shards(make_config("digits"), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_demo_set_is_built_in_seconds(make_config: MakeConfig, tmp_path: Path) -> None:
    begun = time.monotonic()
    build_shards(make_config("shapes3d", "data.grid=[5,5,10,4,4,1]", "data.side=32"), tmp_path / "set")
    assert time.monotonic() - begun < 30
