"""Keep the old names of keys and choices, so that frozen configs of older runs load and a user learns the new name."""

from collections.abc import Callable
from typing import Any

RENAMED = {
    "discover.source": "discover.sources",
    "discover.noise": "discover.outliers",
    "discover.max_noise_share": "discover.max_outlier_fraction",
    "discover.min_oracle_share": "discover.min_oracle_fraction",
    "discover.min_variance_share": "discover.min_variance_fraction",
}
REMOVED = {  # key -> what takes its place
    "discover.mixtures": "add mixture to discover.sources",
    "discover.max_principal_nmi": "discover.related_nmi says what is called related to the principal label, and "
    "discover.min_unexplained what is refused",
}
VALUES: dict[str, Callable[[Any], Any]] = {  # what an old value is now
    "discover.source": lambda source: [source],
}
RENAMED_CHOICES = {"multitask.methods": {"uncertainty": "hard_sharing+uncertainty"}}


def rename(dotted: str, value: Any) -> tuple[str, Any]:
    """Return a key and its value under the names that they have now."""
    choices, convert = RENAMED_CHOICES.get(dotted, {}), VALUES.get(dotted)
    if convert is not None:
        value = convert(value)
    if isinstance(value, list):
        value = [choices.get(str(one), one) for one in value]
    return RENAMED.get(dotted, dotted), value
