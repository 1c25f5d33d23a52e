"""The two ways a run ends early that are not a bug, each with its exit code."""


class UserError(Exception):
    """A mistake the user can mend: one sentence naming the key or file, what was found and what is allowed."""

    exit_code = 2


class NothingFoundError(Exception):
    """Discovery ended without a task: the sentence gives the scores and what to try."""

    exit_code = 3
