"""Open the handwritten digits that ship with scikit-learn: 1,797 grey images of 8 x 8 (Alpaydin and Kaynak, 1998)."""

import numpy as np

from detaux.config.schema import DataConfig
from shards.records import Source, read_resized


def open_digits(config: DataConfig) -> Source:
    """Return the digits, resized to `data.side`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return Source(
        name="digits",
        factors={"digit": 10},
        value_names={"digit": [str(value) for value in range(10)]},
        default_principal="digit",
        count=len(images),
        factor_values=digits.target[:, None].astype(np.int64),
        published_split=None,
        read=lambda: read_resized(images, config.side),
    )
