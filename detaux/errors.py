"""The ways a run ends early that are not a bug, each with its exit code."""


class UserError(Exception):
    """A mistake the user can mend: one sentence naming the key or file, what was found and what is allowed."""

    exit_code = 2


class NothingFoundError(Exception):
    """Discovery ended without a task: the sentence gives the scores and what to try."""

    exit_code = 3


class NonFiniteLossError(Exception):
    """Training met a loss that is not a number; it stops before such a state is saved."""

    exit_code = 1

    def __init__(self, step: int, terms: list[str], remedy: str) -> None:
        super().__init__(
            f"the loss is not finite at step {step} ({', '.join(terms)}); what was saved before it is intact; lower {remedy}."
        )


class InterruptedRunError(Exception):
    """A signal asked the run to stop; its state is saved and the same command goes on."""

    def __init__(self, signal_number: int, place: str) -> None:
        super().__init__(f"stopped by signal {signal_number} after {place}; the same command goes on from there.")
        self.exit_code = 128 + signal_number
