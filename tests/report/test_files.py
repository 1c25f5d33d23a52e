import errno
import itertools

import pytest

from detaux.config.schema import ReportConfig
from detaux.errors import UserError
from detaux.report import files
from detaux.report.build import build_report
from detaux.report.files import LIST_MARK, OLDER_MARK, write_files
from detaux.runtime.files import atomic_path

PAGE = '<html><head><meta name="{mark}" content="{names}"></head></html>'


def make_page(*names):
    return PAGE.format(mark=LIST_MARK, names=" ".join(names))


def list_files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_next_report_replaces_what_the_one_before_wrote_and_no_more(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.csv").write_text("mine")
    first = {"tables/a.csv": b"1", "figures/b.png": b"2"}
    write_files(tmp_path, make_page(*first), first)
    second = {"tables/a.csv": b"3", "figures/c.png": b"4"}
    write_files(tmp_path, make_page(*second), second)
    page = make_page(*second).encode()
    assert list_files(tmp_path) == {**second, "report.html": page, "tables/mine.csv": b"mine"}


@pytest.mark.parametrize("stop", [0, 1, 2])
@pytest.mark.parametrize("is_first", [True, False])
def test_report_that_was_interrupted_is_replaced_by_the_next(tmp_path, monkeypatch, stop, is_first):
    """Whichever file it was at, and whether or not the report before had files of other names."""
    if not is_first:
        write_files(tmp_path, make_page("tables/old.csv"), {"tables/old.csv": b"0"})
    new = {"tables/a.csv": b"1", "figures/b.png": b"2"}
    written = itertools.count()

    def write_some(path):
        if next(written) == stop:
            raise OSError(errno.ENOSPC, "disk full")
        return atomic_path(path)

    monkeypatch.setattr(files, "atomic_path", write_some)
    with pytest.raises(OSError, match="disk full"):
        write_files(tmp_path, make_page(*new), new)
    monkeypatch.undo()
    write_files(tmp_path, make_page(*new), new)
    assert list_files(tmp_path) == {**new, "report.html": make_page(*new).encode()}


@pytest.mark.parametrize("name", ["report.html", "tables/a.csv", "figures/b.png"])
def test_file_that_no_report_made_is_refused_before_anything_is_written(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    files = {"tables/a.csv": b"1", "figures/b.png": b"2"}
    with pytest.raises(UserError, match=f"{name} exists and no report made it; give another folder with --out"):
        write_files(tmp_path, make_page(*files), files)
    assert list_files(tmp_path) == {name: b"mine"}


def test_page_of_an_earlier_release_is_replaced_with_the_files_of_those_names(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("older")
    (tmp_path / "tables" / "mine.csv").write_text("mine")
    (tmp_path / "report.html").write_text(f"<html>{OLDER_MARK} One file.</p></html>")
    write_files(tmp_path, make_page("tables/a.csv"), {"tables/a.csv": b"new"})
    assert (tmp_path / "tables" / "a.csv").read_bytes() == b"new"
    assert (tmp_path / "tables" / "mine.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/passwd", "tables/../../secret.txt", "notes.txt"])
def test_list_of_a_strangers_page_reaches_nothing_outside(tmp_path, name):
    folder = tmp_path / "report"
    folder.mkdir()
    (tmp_path / "secret.txt").write_text("kept")
    (folder / "notes.txt").write_text("kept")
    (folder / "report.html").write_text(make_page(name))
    write_files(folder, make_page(), {})
    assert (tmp_path / "secret.txt").read_text() == (folder / "notes.txt").read_text() == "kept"


@pytest.mark.usefixtures("unrendered")
def test_folder_with_tables_and_figures_of_its_own_keeps_them(run_folder, tmp_path):
    own = tmp_path / "thesis"
    for name in ("figures/cluster-0.png", "tables/candidates.csv"):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text("mine")
    before = list_files(own)
    with pytest.raises(UserError, match="exists and no report made it"):
        build_report([run_folder], own, ReportConfig())
    assert list_files(own) == before
