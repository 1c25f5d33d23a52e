import os
from collections.abc import Callable
from pathlib import Path

import pytest
from braceexpand import braceexpand

from detaux.config import Config
from detaux.errors import UserError
from shards.build import list_inputs
from shards.tar_names import count_names, list_tars


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    folder = tmp_path / "tars"
    folder.mkdir()
    for name in ("part-0.tar", "part-1.tar"):
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "pattern",
    ["{0..99999}/{0..99}", "{a,b}" * 17, "{{0..999999},a}", "{a..z}" * 5, "{0..9999999..2}", "{{a,b}{0..999999},}"],
)
def test_pattern_that_stands_for_endless_names_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UserError, match="stands for more than 100000 names"):
        list_tars(f"{tmp_path}/{pattern}.tar")


@pytest.mark.parametrize("pattern", ["{a,b", "{1..9" + "9" * 5000 + "}"])
def test_braces_that_make_no_pattern_are_said_to_be_that(pattern: str) -> None:
    with pytest.raises(UserError, match="are not a valid pattern"):
        list_tars(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        *("{a,b}{0..3}", "{{a,b},{c,d}e,f}", "{x}", "{a..e..2}", "{9..1..3}", "{0..9..0}", "{,a}", "{-3..3}", "{a..}"),
        *("x{{a,b}{1,2},{}}y", "{{0..4},{z..x}}{1,2}", "no braces"),
    ],
)
def test_count_of_names_of_a_pattern_is_that_of_its_expansion(pattern: str) -> None:
    assert count_names(pattern) == len(list(braceexpand(pattern)))


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("part-{0,1,2}.tar", "1 of the 3 names that its braces stand for match no file; the first is .*part-2.tar"),
        ("part-{000000..000003}.tar", "3 of the 4 .* the first is .*part-000000.tar"),
        ("{part,prat}-*.tar", "1 of the 2 .* the first is .*prat-\\*.tar"),
        ("part-{0,gone}.tar", "part-gone.tar is a broken link"),
        ("part-*.tar", "part-gone.tar is a broken link"),
        ("**/part-*.tar", "part-gone.tar is a broken link"),
        ("part-gone.tar", "part-gone.tar is a broken link"),
        ("", "part-gone.tar is a broken link"),
    ],
)
def test_tar_that_a_path_names_and_that_is_missing_is_refused_by_name(
    make_config: Callable[..., Config], tars: Path, pattern: str, fault: str
) -> None:
    (tars / "part-000001.tar").write_bytes(b"")
    (tars / "part-gone.tar").symlink_to("elsewhere.tar")
    with pytest.raises(UserError, match=fault):
        list_tars(f"{tars}/{pattern}")
    if pattern:  # the build hashes what a pattern names before it opens any
        with pytest.raises(UserError, match=fault):
            list_inputs(make_config("webdataset", f"data.path={tars}/{pattern}"))


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/pipe.tar", "/{part-0,pipe}.tar"])
def test_pipe_is_refused_by_name_and_not_waited_for(tars: Path, pattern: str) -> None:
    os.mkfifo(tars / "pipe.tar")
    with pytest.raises(UserError, match="pipe.tar is not a regular file"):
        list_tars(f"{tars}{pattern}")


@pytest.mark.parametrize("pattern", ["*", "**", "su*"])
def test_folder_that_a_pattern_names_is_refused_by_name(tars: Path, pattern: str) -> None:
    (tars / "sub").mkdir()
    with pytest.raises(UserError, match="is a folder; mend it or move it away"):
        list_tars(f"{tars}/{pattern}")


def test_pattern_may_be_longer_than_a_name(make_config: Callable[..., Config], tars: Path) -> None:
    names = [f"part-{number:03d}" for number in range(100)]
    for name in names:
        (tars / f"{name}.tar").write_bytes(b"")
    pattern = f"{tars}/{{{','.join(names)}}}.tar"
    assert len(list_tars(pattern).paths) == 100
    assert list_inputs(make_config("webdataset", f"data.path={pattern}"))["data.path"] == list_tars(pattern).paths


def test_two_stars_of_a_pattern_are_folders_of_any_depth(tars: Path) -> None:
    (tars / "a" / "b").mkdir(parents=True)
    (tars / "part-1.tar").rename(tars / "a" / "b" / "part-1.tar")
    found = list_tars(f"{tars}/**/*.tar").paths
    assert [str(path.relative_to(tars)) for path in found] == ["a/b/part-1.tar", "part-0.tar"]


def test_files_in_a_folder_that_are_no_tars_by_name_are_passed_over_and_listed(tars: Path) -> None:
    (tars / "part-1.tar").rename(tars / "PART-1.TAR")
    (tars / "notes" / "old").mkdir(parents=True)
    for name in ("notes/old/a.txt", "part-0.idx", "photos.zip", ".hidden"):
        (tars / name).write_text("no tar")
    (tars / "link").symlink_to(tars / "notes")
    found = list_tars(str(tars))
    assert [path.name for path in found.paths] == ["PART-1.TAR", "part-0.tar"]
    assert found.passed_over == ["link", "notes/old/a.txt", "part-0.idx", "photos.zip"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (
            "b.tar.zst",
            "b.tar.zst is compressed with zstd, which is not read: unpack it, or compress it with gzip, or move",
        ),
        ("b.TAR.LZ4", "b.TAR.LZ4 is compressed with lz4, which is not read"),
        ("sub/c.tar", r"sub/c.tar is in a sub-folder; data.path=.*/tars/\*\*/\*.tar takes such tars too"),
        ("sub/c.tgz", "sub/c.tgz is in a sub-folder"),
    ],
)
def test_tar_in_a_folder_that_would_not_be_read_is_refused_by_name(tars: Path, name: str, fault: str) -> None:
    (tars / name).parent.mkdir(exist_ok=True)
    (tars / name).write_bytes(b"")
    with pytest.raises(UserError, match=fault):
        list_tars(str(tars))
