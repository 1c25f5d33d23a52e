"""Rows against all columns, a tile of rows at a time, so that what is quadratic in the batch never exists whole."""

from collections.abc import Callable

from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Values of a tile, rows x columns x features. On a GPU the backward of torch.cdist makes that many, 1 GB in float32, and from
# 2^31 on it writes to addresses that are not its own (pytorch/pytorch issue 193099).
TILE = 2**28


def tile_rows(function: Callable[..., Tensor], *rows: Tensor, row_values: int) -> list[Tensor]:
    """function(*parts) for parts of the tensors `rows`, which have one number of rows, in the order of rows.

    Inputs:    row_values  columns times features that function computes with for each row; a part has at most TILE of them,
               or is one row.
    Output:    what function returned for each part; a batch that fits one part is that part, computed as it stands.
    Gradient:  to `rows` and whatever else function reads; of several parts each is computed again on the way back, so that
               the memory is that of one.
    """
    step = max(1, TILE // row_values)
    if step >= len(rows[0]):
        return [function(*rows)]
    parts = zip(*(one.split(step) for one in rows), strict=True)
    return [checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
