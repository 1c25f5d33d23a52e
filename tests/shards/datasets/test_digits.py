from collections.abc import Callable

import numpy as np
from sklearn.datasets import load_digits

from detaux.config.schema import DataConfig
from shards.datasets.digits import open_digits
from shards.records import Source


def test_digits_are_the_handwriting_of_scikit_learn(
    make_data: Callable[..., DataConfig], read_images: Callable[[Source], np.ndarray]
) -> None:
    source = open_digits(make_data("digits", "data.side=8"))
    images = read_images(source)
    reference = load_digits()
    np.testing.assert_array_equal(source.factor_values[:, 0], reference.target)
    np.testing.assert_allclose(images[..., 0] / 255, reference.images / 16, atol=0.5 / 255)
    assert (images[..., 0] == images[..., 2]).all()


def test_digits_grow_to_side(make_data: Callable[..., DataConfig], read_images: Callable[[Source], np.ndarray]) -> None:
    images = read_images(open_digits(make_data("digits", "data.side=32")))
    assert images.shape == (1797, 32, 32, 3)
    assert images.max() > 200
