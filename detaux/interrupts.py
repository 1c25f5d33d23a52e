"""Note a Ctrl-C that nothing else handles, because compiled modules may turn it into another error."""

import signal
from types import FrameType

received: list[int] = []


def note_interrupts() -> None:
    """Note every Ctrl-C from now on, unless it is already ignored or handled."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _note)


def _note(number: int, frame: FrameType | None) -> None:
    received.append(number)
    raise KeyboardInterrupt
