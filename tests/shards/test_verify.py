import dataclasses
import gzip
import io
import json
import pickle
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detaux.cli import run_command
from detaux.data.schema import read_manifest, write_manifest
from detaux.errors import UserError
from detaux.runtime.files import hash_file, write_json
from shards.verify import describe_shards, verify_shards

Build = Callable[..., Path]
Members = list[tuple[tarfile.TarInfo, bytes]]


def read_members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]


def rewrite(folder: Path, change: Callable[[Members], None]) -> str:
    """Change the members of the first shard and mend size, hash and the end of the last block; returns its name.

    So only the look at the members themselves can find what is wrong.
    """
    tree = json.loads((folder / "manifest.json").read_text())
    shard = tree["shards"][0]
    path = folder / shard["name"]
    members = read_members(path)
    change(members)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        end = tar.offset
    shard["size"], shard["sha256"] = path.stat().st_size, hash_file(path)
    offset = shard["blocks"][-1]["offset"]
    shard["blocks"][-1]["size"] = end - offset
    write_json(folder / "manifest.json", tree)
    return shard["name"]


def edit_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    tree = json.loads((folder / "manifest.json").read_text())
    change(tree)
    write_json(folder / "manifest.json", tree)


def add_member(name: str, data: bytes = b"", **fields: object) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        info = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        members.append((info, data))

    return change


def replace_member(suffix: str, make: Callable[[bytes], bytes]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        index = max(i for i, (info, _) in enumerate(members) if info.name.endswith(suffix))
        members[index] = members[index][0], make(members[index][1])

    return change


def drop_member(suffix: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        del members[max(i for i, (info, _) in enumerate(members) if info.name.endswith(suffix))]

    return change


def encode(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


@pytest.mark.parametrize("layout", ["packed", "standard"])
def test_sound_set_has_no_problems(build: Build, layout: str) -> None:
    assert verify_shards(build(layout)) == []


@pytest.mark.parametrize("layout", ["packed", "standard"])
@pytest.mark.parametrize("keep", [0, 100, 700, -2000])
def test_truncated_tar_is_found(build: Build, layout: str, keep: int) -> None:
    folder = build(layout)
    path = sorted(folder.glob("*.tar"))[0]
    path.write_bytes(path.read_bytes()[:keep])
    assert {problem.shard for problem in verify_shards(folder)} == {path.name}


def test_flipped_byte_is_found_by_the_hash(build: Build) -> None:
    folder = build()
    path = sorted(folder.glob("*.tar"))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert any("sha256" in problem.reason for problem in verify_shards(folder))


@pytest.mark.parametrize(
    ("layout", "change", "reason"),
    [
        ("packed", drop_member("labels.npy"), "labels.npy: missing"),
        ("packed", drop_member("keys.txt"), "keys.txt: missing"),
        ("packed", drop_member("images.npy"), "images.npy: missing"),
        ("packed", drop_member("factors.npy"), "0 factors"),
        ("standard", drop_member(".png"), "one image member"),
        ("standard", drop_member(".cls"), "cls: missing"),
        ("standard", drop_member(".json"), "0 factors"),
        ("packed", replace_member("labels.npy", lambda _: encode(np.zeros(3, np.int64))), "disagree"),
        ("packed", replace_member("labels.npy", lambda _: encode(np.full(8, 4))), "disagree|label"),
        ("packed", replace_member("keys.txt", lambda data: data + b"extra\n"), "disagree"),
        ("packed", replace_member("images.npy", lambda data: data[:-1]), "header promises"),
        ("packed", replace_member("images.npy", lambda _: b"no array"), "not a readable npy"),
        ("packed", replace_member("images.npy", lambda _: encode(np.zeros((2, 16, 16, 3)))), "float64"),
        ("standard", replace_member(".png", lambda data: data[:-60]), "not a readable png"),
        ("standard", replace_member(".png", lambda _: b"GIF89a"), "not a readable png"),
        ("standard", replace_member(".cls", lambda _: b"4"), "a label is not in -1 to 3"),
        ("standard", replace_member(".cls", lambda _: b"cat"), "not an integer"),
        ("standard", replace_member(".json", lambda _: b"{"), "not a JSON object"),
        ("standard", replace_member(".json", lambda _: b'{"factors": [9, 0, 0, 0, 0, 0]}'), "out of range"),
        ("packed", add_member("../escape.images.npy"), "leaves the folder"),
        ("packed", add_member("/etc/escape.images.npy"), "leaves the folder"),
        ("standard", add_member("a/../../escape.png"), "leaves the folder"),
        ("packed", add_member("x.images.npy", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "not a regular file"),
        ("packed", add_member("x.images.npy", type=tarfile.LNKTYPE, linkname="a"), "not a regular file"),
        ("packed", add_member("x.images.npy", type=tarfile.CHRTYPE), "not a regular file"),
        ("packed", add_member("x.images.npy", type=tarfile.FIFOTYPE), "not a regular file"),
        ("packed", add_member("x.pyd", b"x"), "not a field"),
        ("packed", add_member("x.pth", b"x"), "not a field"),
        ("standard", add_member("x.images.npy", b"x"), "not a field"),
    ],
)
def test_wrong_member_is_found_though_the_hash_agrees(
    build: Build, layout: str, change: Callable[[Members], None], reason: str
) -> None:
    folder = build(layout)
    name = rewrite(folder, change)
    problems = verify_shards(folder)
    assert {problem.shard for problem in problems} == {name}
    assert any(re.search(reason, str(problem)) for problem in problems), problems


class Touch:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_pickles_are_found_and_never_loaded(build: Build, tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    pickled = pickle.dumps(Touch(proof))
    objects = np.empty(8, dtype=object)
    objects[:] = [Touch(proof)] * 8
    changes = [
        add_member("x.pkl", pickled),
        add_member("x.pickle", pickled),
        replace_member("labels.npy", lambda _: pickled),
        replace_member("labels.npy", lambda _: encode(objects, allow_pickle=True)),
        replace_member("keys.txt", lambda _: pickled),
    ]
    for number, change in enumerate(changes):
        folder = build("packed").rename(tmp_path / f"hostile-{number}")
        rewrite(folder, change)
        assert verify_shards(folder)
    assert not proof.exists()
    pickle.loads(pickled)
    assert proof.exists()  # so the pickle does what the test says


def test_manifest_that_disagrees_with_the_tars_is_found(build: Build, tmp_path: Path) -> None:
    def shift(tree: dict) -> None:
        tree["shards"][0]["blocks"][1]["offset"] += 512

    def repeat(tree: dict) -> None:
        tree["shards"][0]["blocks"][1] = tree["shards"][0]["blocks"][0]

    def shrink(tree: dict) -> None:
        tree["shards"][0]["blocks"][0]["samples"] -= 1
        tree["shards"][0]["samples"] -= 1

    def overrun(tree: dict) -> None:
        tree["shards"][0]["blocks"][-1]["size"] += 10**6

    def rename(tree: dict) -> None:
        tree["shards"][0]["name"] = "../" + tree["shards"][0]["name"]

    def forget(tree: dict) -> None:
        del tree["shards"][0]

    def invent(tree: dict) -> None:
        tree["shards"].append({**tree["shards"][0], "name": "absent.tar"})

    changes = [shift, repeat, shrink, overrun, rename, forget, invent]
    for change in changes:
        folder = build("packed").rename(tmp_path / change.__name__)
        edit_manifest(folder, change)
        assert verify_shards(folder), change.__name__


def test_sample_key_that_stands_twice_is_found(build: Build) -> None:
    folder = build("packed")
    last = json.loads((folder / "manifest.json").read_text())["shards"][-1]["name"]
    key = next(data for info, data in read_members(folder / last) if info.name.endswith("keys.txt")).split()[0]
    rewrite(folder, replace_member("keys.txt", lambda data: key + data[data.index(b"\n") :]))
    assert [(problem.shard, problem.reason) for problem in verify_shards(folder)] == [
        (last, f"sample key {key.decode()} occurs twice")
    ]


def test_shard_that_is_a_link_is_found(build: Build, tmp_path: Path) -> None:
    folder = build()
    path = sorted(folder.glob("*.tar"))[0]
    path.rename(tmp_path / "elsewhere.tar")
    path.symlink_to(tmp_path / "elsewhere.tar")
    assert [problem.shard for problem in verify_shards(folder)] == [path.name]


def test_compressed_tar_is_refused_unread(build: Build) -> None:
    folder = build()
    tree = json.loads((folder / "manifest.json").read_text())
    shard = tree["shards"][0]
    path = folder / shard["name"]
    path.write_bytes(gzip.compress(path.read_bytes()))
    shard.update(size=path.stat().st_size, sha256=hash_file(path), samples=8)
    shard["blocks"] = [{"offset": 0, "size": shard["size"], "samples": 8}]
    write_json(folder / "manifest.json", tree)
    assert any("not a complete tar" in problem.reason for problem in verify_shards(folder))


def test_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished shard set"):
        verify_shards(tmp_path)


def test_description_names_what_the_set_holds(build: Build) -> None:
    text = "\n".join(describe_shards(build()))
    for part in (
        "shapes3d",
        "16 x 16 x 3",
        "packed",
        "shape, 4 classes: 0 32, 1 32, 2 32, 3 32",
        "floor_hue (2)",
        "random",
        "train",
        "MiB",
    ):
        assert part in text


def test_description_of_a_strangers_set_acts_on_no_terminal(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build()
    names = ["\x1b[31mred", "two\nshards      none", "\u202eover", "plain"]
    hostile = dataclasses.replace(
        read_manifest(folder), classes=names, quarantined=[{"file": "\x07", "reason": "\x9b2J"}], passed_over=["\r"]
    )
    write_manifest(folder, hostile)
    assert run_command(["shards", "info", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    for shown in (r"\x1b[31mred", r"two\nshards      none", r"\u202eover", r"\x07: \x9b2J", r"passed over \r"):
        assert shown in printed
