"""Check the files of a data set as its authors publish it. A missing or swapped file is named in one sentence."""

from pathlib import Path

from detaux.config.location import expand_path
from detaux.config.schema import DataConfig
from detaux.errors import UserError

PARTS = ("training", "test")


def find_published(config: DataConfig, wanted: str) -> Path:
    """Return `data.path`. Raises UserError, which says what is `wanted` there, if it is null or does not exist."""
    if not config.path:
        raise UserError(f"data.source={config.source} needs data.path, {wanted}.")
    path = expand_path(config.path, "data.path")
    if not path.exists():
        raise UserError(f"data.path={path} does not exist; data.source={config.source} needs {wanted}.")
    return path


def refuse_swapped(origin: str, counts: tuple[int, int], published: tuple[int, int]) -> None:
    """Raise UserError if the training or the test part has as many images as the other part of the published files.

    Other counts pass, because a person may have made smaller files.
    """
    if counts == published[::-1]:
        raise UserError(
            f"{origin}: {counts[0]:,} training and {counts[1]:,} test images, but the published files have {published[0]:,} "
            f"and {published[1]:,}; the two are swapped."
        )
    for part, other, count, swapped in zip(PARTS, PARTS[::-1], counts, published[::-1], strict=True):
        if count == swapped:
            raise UserError(
                f"{origin}: {count:,} {part} images, as many as in the published {other} part; the published {part} part has "
                f"{sum(published) - swapped:,}."
            )
