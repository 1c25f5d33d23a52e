"""The ways a run ends early, each with its exit code, and what is the machine's fault and not that of a file it reads."""

import errno
import os
from pathlib import Path

# of an OSError while a file is read: what the disk, its server or the limits of the machine refuse
MACHINE_ERRORS = (
    *(errno.EIO, errno.ESTALE, errno.EBUSY, errno.ENODEV, errno.ENXIO),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ETIMEDOUT),
)


class DetauxError(Exception):
    """Any of them. `is_shared` is set where every rank raises it, `is_told` where another one prints it."""

    exit_code = 1
    is_shared = is_told = False


class UserError(DetauxError):
    """A mistake the user can mend: one sentence naming the key or file, what was found and what is allowed."""

    exit_code = 2


class NothingFoundError(DetauxError):
    """Discovery ended without a task: the sentence gives the scores and what to try."""

    exit_code = 3


class NonFiniteLossError(DetauxError):
    """Training met a loss that is not a number; it stops before such a state is saved."""

    exit_code = 1

    def __init__(self, step: int, terms: list[str], remedy: str) -> None:
        super().__init__(
            f"the loss is not finite at step {step} ({', '.join(terms)}); what was saved before it is intact; lower {remedy}."
        )


class InterruptedRunError(DetauxError):
    """A signal asked the run to stop; its state is saved and the same command goes on."""

    def __init__(self, signal_number: int, place: str) -> None:
        super().__init__(f"stopped by signal {signal_number} after {place}; the same command goes on from there.")
        self.exit_code = 128 + signal_number


class UnforeseenError(DetauxError):
    """A bug: of an error of this program itself, on this rank or another, the traceback is written to a file."""

    exit_code = 70  # EX_SOFTWARE


class LostRankError(DetauxError):
    """Another rank has died or hangs; this one cannot go on without it."""

    exit_code = 75  # EX_TEMPFAIL: the same command may be tried again

    def __init__(self, lost: str) -> None:
        super().__init__(
            f"{lost} was lost, and every rank ends; start the same command again and it goes on from the last checkpoint."
        )


def rebuild_error(kind: str, sentence: str, exit_code: int) -> DetauxError:
    """An error of this module that another rank raised."""
    cls = next((cls for cls in DetauxError.__subclasses__() if cls.__name__ == kind), DetauxError)
    error = cls.__new__(cls)
    Exception.__init__(error, sentence)
    error.exit_code, error.is_told = exit_code, True
    return error


def raise_machine_fault(error: Exception, path: Path) -> None:
    """Raise an error of the machine or its limits anew, with the file that was read; return where the file itself is at fault."""
    if isinstance(error, MemoryError):
        raise MemoryError(f"{path} was read") from error
    if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
