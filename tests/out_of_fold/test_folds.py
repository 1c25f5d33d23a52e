import numpy as np
import torch

from detaux.data.image_rows import ImageRows
from detaux.out_of_fold.folds import draw_folds, predict_out_of_fold


def test_folds_halve_each_label():
    labels = np.repeat([0, 1, -1], [9, 40, 31])
    fold = draw_folds(labels, np.random.default_rng(0))
    for value in (0, 1, -1):
        sizes = np.bincount(fold[labels == value], minlength=2)
        assert abs(sizes[0] - sizes[1]) <= 1
    assert not np.array_equal(fold, draw_folds(labels, np.random.default_rng(1)))


def test_networks_label_images_that_they_did_not_see():
    """Brightness is the class. An image whose label was exchanged keeps the class that the other fold shows."""
    random = np.random.default_rng(0)
    true = random.integers(2, size=400)
    images = torch.from_numpy(
        (60 + 120 * true[:, None, None, None] + random.integers(-20, 20, (400, 8, 8, 1))).astype("u1")
    )
    labels = np.where(np.arange(400) < 20, 1 - true, true)
    labels[20:100] = -1
    found, _ = predict_out_of_fold(images, labels, 2, steps=40, batch_size=32, seed=(0,))
    assert found.shape == (400, 2)
    assert (found.argmax(1) == true).mean() > 0.99
    rows = ImageRows.select(images, torch.arange(400))  # images that are read when they are taken
    assert np.array_equal(found, predict_out_of_fold(rows, labels, 2, steps=40, batch_size=32, seed=(0,))[0])
