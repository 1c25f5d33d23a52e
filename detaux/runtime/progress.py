"""Show what a stage does: a progress bar on a terminal, plain lines if the output is piped."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from detaux.runtime.ranks import is_first
from detaux.runtime.terminal import Terminal
from detaux.runtime.text import show_text

PLAIN_SECONDS = 5.0  # least time between two plain lines

Advance = Callable[..., None]


def say(text: str) -> None:
    """Print one line, on the first rank only. Nothing in it is read as markup or acts on the terminal."""
    if is_first():
        Terminal(soft_wrap=True).print(show_text(text), markup=False, highlight=False)


@contextmanager
def track(description: str, total: int) -> Iterator[Advance]:
    """Yield advance(count=1, note=""), which moves the terminal's bar or, if piped, prints a plain line now and then.

    Only the first rank shows anything.
    """
    if not is_first():
        yield lambda count=1, note="": None
        return
    console = Terminal(soft_wrap=True)
    shown = _show_bar if console.is_terminal else _print_lines
    with shown(console, description, total) as advance:
        yield advance


@contextmanager
def _show_bar(console: Console, description: str, total: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(description, total=total, note="")

        def advance(count: int = 1, note: str = "") -> None:
            progress.update(task, advance=count)
            if note:
                progress.update(task, note=note)

        yield advance


@contextmanager
def _print_lines(console: Console, description: str, total: int) -> Iterator[Advance]:
    begun = last = time.monotonic()
    done, latest = 0, ""

    def advance(count: int = 1, note: str = "") -> None:
        nonlocal done, last, latest
        done, latest = done + count, note or latest
        now = time.monotonic()
        if now - last >= PLAIN_SECONDS and done < total:
            last = now
            console.print(f"{description}: {done}/{total} {latest}".rstrip(), markup=False, highlight=False)

    yield advance
    seconds = time.monotonic() - begun
    console.print(f"{description}: {done}/{total} in {seconds:.0f} s {latest}".rstrip(), markup=False, highlight=False)
