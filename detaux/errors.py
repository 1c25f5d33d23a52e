"""Define the errors that end a run early, each with its exit code, and separate the machine's faults from a file's."""

import errno
import os
from pathlib import Path

# error numbers of an OSError that the disk, its server or the machine's limits cause while a file is read
MACHINE_ERRORS = (
    *(errno.EIO, errno.ESTALE, errno.EBUSY, errno.ENODEV, errno.ENXIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ETIMEDOUT),
)


class DetauxError(Exception):
    """Describe any of these errors. `is_shared`: every rank raises it. `is_told`: another rank prints it."""

    exit_code = 1
    is_shared = is_told = False


class UserError(DetauxError):
    """Report a mistake that the user can correct, by one sentence: the key or file, what was found, what is allowed."""

    exit_code = 2


class NothingFoundError(DetauxError):
    """Report that discovery found no task, by a sentence with the scores and what to try."""

    exit_code = 3


class NonFiniteLossError(DetauxError):
    """Report a loss that is not finite; training stops before such a state is saved."""

    exit_code = 1

    def __init__(self, step: int, terms: list[str], remedy: str) -> None:
        super().__init__(
            f"the loss is not finite at step {step} ({', '.join(terms)}); what was saved before it is intact; lower {remedy}."
        )


class InterruptedRunError(DetauxError):
    """Report that a signal stopped the run; its state is saved, and the same command continues it."""

    def __init__(self, signal_number: int, place: str) -> None:
        super().__init__(f"stopped by signal {signal_number} after {place}; the same command continues from there.")
        self.exit_code = 128 + signal_number


class UnforeseenError(DetauxError):
    """Report a bug of this program, on this rank or another; its traceback is written to a file."""

    exit_code = 70  # EX_SOFTWARE


class LostRankError(DetauxError):
    """Report that another rank has died or hangs, so that this one cannot continue."""

    exit_code = 75  # EX_TEMPFAIL: the user may try the same command again

    def __init__(self, lost: str) -> None:
        super().__init__(f"{lost} was lost, so every rank ends; the same command continues from the last checkpoint.")


def rebuild_error(kind: str, sentence: str, exit_code: int) -> DetauxError:
    """Build the error that another rank raised."""
    cls = next((cls for cls in DetauxError.__subclasses__() if cls.__name__ == kind), DetauxError)
    error = cls.__new__(cls)
    Exception.__init__(error, sentence)
    error.exit_code, error.is_told = exit_code, True
    return error


def raise_machine_fault(error: Exception, path: Path) -> None:
    """Raise an error of the machine or its limits again, with the path that was read; do nothing for other errors."""
    if isinstance(error, MemoryError):
        raise MemoryError(f"{path} was read") from error
    if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
