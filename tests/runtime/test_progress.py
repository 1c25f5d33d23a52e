import io
import itertools
import sys

import pytest

from detaux.runtime import progress
from detaux.runtime.progress import say, track


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_say_prints_markup_as_it_stands(capsys):
    say("runs/[bold]x[/bold]: 3 of 4" + ", long" * 60)
    assert capsys.readouterr().out == "runs/[bold]x[/bold]: 3 of 4" + ", long" * 60 + "\n"


def test_piped_progress_prints_one_line_in_five_seconds_and_a_last_one(capsys, monkeypatch):
    clock = itertools.count()  # a second passes between two readings
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with track("work", 20) as advance:
        for step in range(20):
            advance(note=f"loss {step}")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["5/20", "10/20", "15/20", "20/20"]
    assert lines[-1] == "work: 20/20 in 21 s loss 19"


def test_piped_progress_that_fails_claims_no_end(capsys):
    def work():
        with track("work", 2) as advance:
            advance()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert capsys.readouterr().out == ""


def test_terminal_shows_a_bar_with_counts_and_note(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with track("work", 4) as advance:
        advance(3)
        advance(1, note="loss 0.5")
        advance(0)
    assert "work" in screen.getvalue()
    assert "4/4" in screen.getvalue()
    assert "loss 0.5" in screen.getvalue()
