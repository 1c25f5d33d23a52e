"""Ctrl-C where nothing else handles it: it is noted, since compiled modules may turn it into an error of their own."""

import signal
from types import FrameType

received: list[int] = []


def note_interrupts() -> None:
    """From now on have Ctrl-C noted, unless it is ignored or handled already."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _note)


def _note(number: int, frame: FrameType | None) -> None:
    received.append(number)
    raise KeyboardInterrupt
