import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shards.tars import MOST_BYTES, Group, TarError, read_tar_groups

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
Member = tuple[str, bytes] | tarfile.TarInfo


def link(name: str, target: str, kind: bytes = tarfile.LNKTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def make_tar(*members: Member, format: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return stream.getvalue()


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], list[Group]]:
    """read(content): the samples of a tar with these bytes."""

    def read_all(content: bytes) -> list[Group]:
        (tmp_path / "part.tar").write_bytes(content)
        return list(read_tar_groups(tmp_path / "part.tar"))

    return read_all


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_samples_are_members_of_one_key_in_a_row(read: Callable[[bytes], list[Group]], name: str) -> None:
    members = [
        ("x/a.JPG", b"jpeg"),
        ("x/a.cls", b"1"),
        ("x/a.txt", b"words"),
        ("b.png", b"png" * 3000),
        ("x/a.json", b"{}"),
    ]
    groups = read(COMPRESSIONS[name](make_tar(*members)))
    assert [(one.key, one.fields, one.others, one.fault) for one in groups] == [
        ("x/a", {"jpg": b"jpeg", "cls": b"1"}, ["txt"], None),
        ("b", {"png": b"png" * 3000}, [], None),
        ("x/a", {"json": b"{}"}, [], None),
    ]


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_tars_one_behind_the_other_are_all_read(read: Callable[[bytes], list[Group]], name: str) -> None:
    parts = [make_tar((f"{letter}.cls", letter.encode())) for letter in "abc"]
    for joined in (COMPRESSIONS[name](b"".join(parts)), b"".join(map(COMPRESSIONS[name], parts))):
        assert [one.key for one in read(joined)] == ["a", "b", "c"]


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_member_that_is_a_link_has_the_content_of_the_one_before(
    read: Callable[[bytes], list[Group]], name: str, kind: bytes
) -> None:
    target = "x/a.cls" if kind == tarfile.LNKTYPE else "a.cls"
    tar = make_tar(("x/a.cls", b"7"), ("y.png", bytes(20_000)), link("x/b.cls", target, kind), ("c.cls", b"8"))
    assert [one.fields.get("cls") for one in read(COMPRESSIONS[name](tar))] == [b"7", None, b"7", b"8"]


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("./x/a.cls", b"7"), link("./x/b.cls", "x/a.cls")),
        (("x/a.cls", b"7"), link("x/b.cls", "./x/a.cls")),
        (("./x/a.cls", b"7"), link("./y/b.cls", "../x/a.cls", tarfile.SYMTYPE)),
        (("x//a.cls", b"7"), link("x/b.cls", "a.cls", tarfile.SYMTYPE)),
    ],
)
def test_link_finds_a_member_however_its_path_is_spelled(
    read: Callable[[bytes], list[Group]], name: str, first: Member, second: Member
) -> None:
    found = read(COMPRESSIONS[name](make_tar(first, second)))
    assert [(one.fields.get("cls"), one.fault) for one in found] == [(b"7", None), (b"7", None)]


def test_hard_link_in_a_tar_of_a_whole_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "d" / "one").mkdir(parents=True)
    (tmp_path / "d" / "one" / "0.cls").write_bytes(b"5")
    os.link(tmp_path / "d" / "one" / "0.cls", tmp_path / "d" / "one" / "1.cls")
    subprocess.run(["tar", "-C", tmp_path / "d", "-cf", tmp_path / "t.tar", "."], check=True)
    assert [(one.fields, one.fault) for one in read_tar_groups(tmp_path / "t.tar")] == [({"cls": b"5"}, None)] * 2


def test_large_member_is_linked_to_where_the_tar_can_go_back(read: Callable[[bytes], list[Group]]) -> None:
    tar = make_tar(("a.png", b"x" * 20_000), ("b.cls", b"1"), link("c.png", "a.png"), ("d.cls", b"2"))
    plain, compressed = read(tar), read(gzip.compress(tar))
    assert plain[2].fields["png"] == b"x" * 20_000
    assert (
        compressed[2].fault
        == "its member png is a link to a.png, and a compressed tar cannot go back to it: unpack the tar"
    )
    assert [one.key for one in compressed] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        (link("a.png", "none.png"), "is a link to none.png, which is no file that was read before it"),
        (link("a.png", "/etc/passwd", tarfile.SYMTYPE), "is a link to /etc/passwd, which is no file that was read"),
        (link("a.png", "", tarfile.CHRTYPE), "is no regular file"),
        (("a.cls", b" " * 2000), "has 2000 bytes; at most 1024 are read"),
    ],
)
def test_member_that_cannot_be_read_is_the_fault_of_its_sample_alone(
    read: Callable[[bytes], list[Group]], member: Member, fault: str
) -> None:
    found = read(make_tar(member, ("b.cls", b"1")))
    assert [one.key for one in found] == ["a", "b"]
    assert fault in str(found[0].fault)
    assert found[1].fault is None


def test_member_that_stands_twice_is_a_fault(read: Callable[[bytes], list[Group]]) -> None:
    found = read(make_tar(("a.png", b"1"), ("a.PNG", b"2")))
    assert found[0].fault == "its member png occurs twice"


def test_hidden_members_and_metadata_are_passed_over(read: Callable[[bytes], list[Group]]) -> None:
    found = read(make_tar(("._a.png", b"mac"), ("x/._a.png", b"mac"), ("__x__/a.png", b"meta"), ("a.png", b"1")))
    assert [one.key for one in found] == ["a"]


def make_header(name: str, kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("kind", "text"), [(tarfile.GNUTYPE_LONGNAME, b"a.cls\0"), (tarfile.XHDTYPE, b"14 path=a.cls\n")]
)
def test_tar_of_headers_that_describe_headers_is_refused(
    read: Callable[[bytes], list[Group]], kind: bytes, text: bytes
) -> None:
    header = make_header("x", kind, len(text)) + text.ljust(512, b"\0")
    assert [one.key for one in read(header + make_tar(("b.cls", b"1")))] == ["a"]
    with pytest.raises(TarError, match="too many headers in a row"):
        read(header * 2000 + make_tar(("b.cls", b"1")))


@pytest.mark.parametrize("size", [-512, -1024, -(2**40)])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
@pytest.mark.parametrize("name", ["a.cls", "a.txt"])
@pytest.mark.parametrize("compression", ["plain", "gzip"])
def test_member_of_less_than_no_bytes_is_refused(
    read: Callable[[bytes], list[Group]], name: str, kind: bytes, size: int, compression: str
) -> None:
    content = make_header("b.cls", tarfile.REGTYPE, 0) + make_header(name, kind, size) + make_tar(("c.cls", b"1"))
    with pytest.raises(TarError, match="bytes"):
        read(COMPRESSIONS[compression](content))


@pytest.mark.parametrize("size", [0, -1])
def test_member_without_a_name_is_refused(read: Callable[[bytes], list[Group]], size: int) -> None:
    with pytest.raises(TarError, match="its member at byte 0 has no name"):
        read(make_header("x", tarfile.GNUTYPE_LONGNAME, size) + make_tar(("c.cls", b"1")))


TAR = make_tar(("a.png", bytes(1500)), ("a.cls", b"1"))


@pytest.mark.parametrize("name", COMPRESSIONS)
@pytest.mark.parametrize(
    "content",
    [
        TAR[:700],
        TAR.rstrip(b"\0"),
        TAR[: 512 + 1536],
        b"no tar at all" * 100,
        TAR + b"x" * 512,
        TAR.rstrip(b"\0") + bytes(-len(TAR.rstrip(b"\0")) % 512),
        b"",
    ],
    ids=["in a member", "last block", "after a member", "text", "something behind", "without its end", "empty"],
)
def test_tar_that_is_no_whole_one_is_refused(read: Callable[[bytes], list[Group]], name: str, content: bytes) -> None:
    with pytest.raises((TarError, EOFError)):
        read(COMPRESSIONS[name](content))


def test_zstd_is_refused_by_name(read: Callable[[bytes], list[Group]]) -> None:
    with pytest.raises(TarError, match="zstd"):
        read(b"\x28\xb5\x2f\xfd" + bytes(100))


BOMBS = {"member": tarfile.REGTYPE, "long name": tarfile.GNUTYPE_LONGNAME, "extended header": tarfile.XHDTYPE}
BOMB_BYTES, MOST_BOMB_BYTES = 2**26 + 2**24, 2**26
# may take half of a bomb beyond what it has
READ_BOMBS = f"""
import resource, sys
from pathlib import Path
import shards.tars
shards.tars.MOST_BYTES["png"] = {MOST_BOMB_BYTES}
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {MOST_BOMB_BYTES // 2},) * 2)
for path in map(Path, sys.argv[1:]):
    try:
        print([(one.key, one.fault) for one in shards.tars.read_tar_groups(path)])
    except (shards.tars.TarError, MemoryError) as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process says that reads zeros in a few kilobytes, more of them than a picture may have."""
    folder = tmp_path_factory.mktemp("bombs")
    for bomb, kind in BOMBS.items():
        info = tarfile.TarInfo("a.png" if bomb == "member" else "././@LongLink")
        info.type, info.size = kind, BOMB_BYTES
        with gzip.open(folder / bomb, "wb", compresslevel=1) as stream:
            stream.write(info.tobuf(tarfile.GNU_FORMAT))
            stream.write(bytes(BOMB_BYTES))
            stream.write(make_tar(("b.cls", b"1")))
    command = [sys.executable, "-c", READ_BOMBS, *(str(folder / bomb) for bomb in BOMBS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return dict(zip(BOMBS, result.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("bomb", BOMBS)
def test_small_compressed_tar_cannot_fill_the_memory(answers: dict[str, str], bomb: str) -> None:
    assert max(MOST_BYTES.values()) <= 2**28
    is_member = bomb == "member"
    assert (f"has {BOMB_BYTES} bytes; at most {MOST_BOMB_BYTES} are read" in answers[bomb]) == is_member
    assert (answers[bomb].startswith("TarError") and "bytes at once" in answers[bomb]) != is_member
