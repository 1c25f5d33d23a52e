"""Report an unforeseen error: write its traceback to a file, and say in one sentence where it is and what to do."""

import tempfile
import time
import traceback
from pathlib import Path

import detaux

REPORT_TO = "https://github.com/detaux/detaux/issues"


def describe_crash(error: BaseException, folder: Path | None) -> str:
    """Write the traceback of an error into the run's `folder`, or else into the folder of temporary files, and say so.

    If neither can be written, the sentence holds the last lines of the traceback.
    """
    text = "".join(traceback.format_exception(error))
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(". ")
    for place in (folder, None):
        if path := _write(text, place):
            return f"an unforeseen error ({reason}); its traceback is in {path}: please report both at {REPORT_TO}."
    last = " | ".join(line.strip() for line in text.splitlines()[-7:])
    return f"an unforeseen error; please report it at {REPORT_TO}, with this end of its traceback: {last}."


def _write(text: str, folder: Path | None) -> Path | None:
    """Write the traceback into `folder`, or among the temporary files, and return the file, or None if that fails."""
    header = f"detaux {detaux.__version__}, {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="error-", suffix=".txt", dir=folder, delete=False, encoding="utf-8", errors="backslashreplace"
        ) as stream:
            stream.write(header + text)
    except (OSError, ValueError):  # the folder does not exist or cannot be written, or its name holds a NUL
        return None
    return Path(stream.name)
