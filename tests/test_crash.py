import stat
from pathlib import Path

import pytest

from detaux import crash
from detaux.crash import REPORT_TO, describe_crash


def make_error():
    try:
        raise KeyError("caf\u00e9\udcb9")
    except KeyError as error:
        return error


def find_file(sentence):
    return Path(sentence.partition("its traceback is in ")[2].partition(": please")[0])


def test_traceback_is_in_the_folder_of_the_run(tmp_path):
    sentence = describe_crash(make_error(), tmp_path)
    assert sentence.startswith("an unforeseen error (KeyError: ")
    assert sentence.endswith(f"please report both at {REPORT_TO}.")
    path = find_file(sentence)
    assert path.parent == tmp_path
    text = path.read_text(encoding="utf-8")
    assert text.startswith("detaux 0.")
    assert 'raise KeyError("caf' in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_traceback_is_among_temporary_files_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(crash.tempfile, "tempdir", str(tmp_path))
    for folder in (None, tmp_path / "absent", Path(f"{tmp_path}/a\0b"), tmp_path / "\ud800"):
        assert find_file(describe_crash(make_error(), folder)).parent == tmp_path


@pytest.mark.parametrize("is_there", [True, False])
def test_traceback_that_can_be_written_nowhere_is_in_the_sentence(tmp_path, monkeypatch, is_there):
    def find_none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    if is_there:
        monkeypatch.setattr(crash.tempfile, "tempdir", str(tmp_path / "absent"))
    else:
        monkeypatch.setattr(crash.tempfile, "tempdir", None)
        monkeypatch.setattr(crash.tempfile, "_get_default_tempdir", find_none)
    sentence = describe_crash(make_error(), Path(f"{tmp_path}/a\0b"))
    assert "\n" not in sentence
    assert 'raise KeyError("caf' in sentence


@pytest.mark.parametrize("message", ["", "two\nlines", "x" * 10_000])
def test_any_message_makes_one_short_sentence(message, tmp_path):
    sentence = describe_crash(RuntimeError(message), tmp_path)
    assert "\n" not in sentence
    assert len(sentence) < 700
