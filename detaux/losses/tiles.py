"""Compare rows with all columns, a tile of rows at a time, so that nothing quadratic in the batch exists as a whole."""

from collections.abc import Callable

from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Values of a tile, rows x columns x features. On a GPU the backward pass of torch.cdist makes that many, 1 GB in
# float32, and from 2^31 on it writes to memory that is not its own (pytorch/pytorch issue 193099).
TILE = 2**28


def tile_rows(function: Callable[..., Tensor], *rows: Tensor, row_values: int) -> list[Tensor]:
    """Call function(*parts) on parts of the tensors `rows`, which all have the same number of rows, in their order.

    Inputs:    row_values  columns times features that function computes with for each row; a part has at most TILE
               values, or is one row.
    Output:    the result of function for each part; a batch that fits one part is computed as it is.
    Gradient:  to `rows` and everything else that function reads. If there are several parts, the backward pass computes
               each again, so that it needs the memory of only one.
    """
    step = max(1, TILE // row_values)
    if step >= len(rows[0]):
        return [function(*rows)]
    parts = zip(*(one.split(step) for one in rows), strict=True)
    return [checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
