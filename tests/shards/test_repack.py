import dataclasses
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detaux.config import load_config
from detaux.data.schema import read_manifest
from detaux.errors import UserError
from detaux.runtime.files import hash_file, write_json
from detaux.runtime.record import is_done
from shards.repack import repack_shards
from shards.verify import verify_shards

Build = Callable[..., Path]


def test_repacked_set_holds_the_same_samples(
    build: Build, read_samples: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    standard = build("standard")
    manifest = repack_shards(standard, tmp_path / "packed")
    assert manifest.layout == "packed"
    assert manifest == read_manifest(tmp_path / "packed")
    assert verify_shards(tmp_path / "packed") == []
    assert read_samples(tmp_path / "packed") == read_samples(standard)


def test_repacked_set_equals_the_packed_build(
    build: Build, read_samples: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    repack_shards(build("standard"), tmp_path / "packed")
    assert read_samples(tmp_path / "packed") == read_samples(build("packed"))


def test_repacked_set_has_the_config_with_its_own_layout_and_a_record(build: Build, tmp_path: Path) -> None:
    standard, out = build("standard"), tmp_path / "packed"
    manifest = repack_shards(standard, out)
    before, after = (load_config(folder / "config.yaml") for folder in (standard, out))
    assert (before.data.layout, after.data.layout) == ("standard", "packed")
    assert dataclasses.replace(after.data, layout="standard") == before.data
    assert {block.samples for shard in manifest.shards for block in shard.blocks[:-1]} == {before.data.block_samples}
    record = json.loads((out / "record.json").read_text())
    assert record["inputs"] == {"manifest": hash_file(standard / "manifest.json")}
    assert record["outputs"].keys() == {path.name for path in out.iterdir()} - {"record.json"}
    assert is_done(out, record["inputs_hash"])


def test_set_without_a_config_is_repacked_without_one(
    build: Build, read_samples: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    standard = build("standard")
    (standard / "config.yaml").unlink()
    repack_shards(standard, tmp_path / "packed")
    assert read_samples(tmp_path / "packed") == read_samples(standard)
    assert not (tmp_path / "packed" / "config.yaml").exists()


def test_packed_set_or_taken_folder_is_refused(build: Build, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="packed already"):
        repack_shards(build("packed"), tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists"):
        repack_shards(build("standard"), tmp_path / "out")


def test_damaged_or_outlying_shard_is_refused(build: Build, tmp_path: Path) -> None:
    folder = build("standard")
    tree = json.loads((folder / "manifest.json").read_text())
    tar = folder / tree["shards"][0]["name"]
    data = tar.read_bytes()
    with tarfile.open(tar) as archive:
        place = next(member.offset_data for member in archive if member.name.endswith(".cls"))
    tar.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])  # another label, which decodes
    with pytest.raises(UserError, match=tar.name):
        repack_shards(folder, tmp_path / "out")

    outside = folder.parent / "outside.tar"
    outside.write_bytes(data)
    tree["shards"][0]["name"] = "../outside.tar"
    write_json(folder / "manifest.json", tree)
    with pytest.raises(UserError, match="outside"):
        repack_shards(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert outside.read_bytes() == data


def test_shard_that_lacks_samples_though_its_hash_agrees_is_refused(build: Build, tmp_path: Path) -> None:
    folder = build("standard")
    tree = json.loads((folder / "manifest.json").read_text())
    shard = tree["shards"][0]
    (folder / shard["name"]).write_bytes(bytes(10240))  # an empty tar
    shard["sha256"] = hash_file(folder / shard["name"])
    write_json(folder / "manifest.json", tree)
    with pytest.raises(
        UserError, match=f"{shard['name']} cannot be repacked: it holds 0 samples, not {shard['samples']}"
    ):
        repack_shards(folder, tmp_path / "out")
