"""Check that batch sizes divide evenly over the ranks. Imports no torch, because `detaux launch` uses it too."""

from detaux.config import Config
from detaux.data.plan import split_batch


def check_batches(config: Config, samples: int, parts: int) -> None:
    """Raise UserError if a batch of either phase does not divide into `parts` equal parts."""
    warmup, main, reuse = config.disentangle.warmup, config.disentangle.main, config.pairs.reuse
    size = min(warmup.batch_size, samples)
    name = "disentangle.warmup.batch_size" if size == warmup.batch_size else "the number of training images"
    split_batch(size, 0, parts, f"{name}={size}")
    if main.steps == 0:
        return
    split_batch(
        main.batch_size // reuse, 0, parts, f"disentangle.main.batch_size={main.batch_size} with pairs.reuse={reuse}"
    )
