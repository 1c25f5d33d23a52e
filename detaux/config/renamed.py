"""Keep the old names of keys and choices, so that frozen configs of older runs load and a user learns the new name."""

from typing import Any

RENAMED = {
    "discover.source": "discover.sources",
    "discover.noise": "discover.outliers",
    "discover.max_noise_share": "discover.max_outlier_fraction",
    "discover.min_oracle_share": "discover.min_oracle_fraction",
    "discover.min_variance_share": "discover.min_variance_fraction",
}
LISTED = ("discover.source",)  # had one value, and has a list now
RENAMED_CHOICES = {"multitask.methods": {"uncertainty": "hard_sharing+uncertainty"}}


def rename(dotted: str, value: Any) -> tuple[str, Any]:
    """Return a key and its value under the names that they have now."""
    choices = RENAMED_CHOICES.get(dotted, {})
    if dotted in LISTED:
        value = [value]
    if isinstance(value, list):
        value = [choices.get(str(one), one) for one in value]
    return RENAMED.get(dotted, dotted), value
