import numpy as np

from detaux.discover.cross_prediction.folds import select_confident


def test_confident_images_are_the_best_half_of_each_cluster():
    labels = np.repeat([0, 1, 2, -1], [20, 10, 7, 5])
    probability = np.r_[np.arange(20), np.full(10, 0.5), np.arange(7), np.ones(5)]
    kept = select_confident(labels, probability, 0.5)
    assert kept[:20].tolist() == [-1] * 10 + [0] * 10
    assert kept[20:30].tolist() == [1] * 10  # all of them tie
    assert kept[30:].tolist() == [-1] * 12  # too few, and outliers
    assert (select_confident(labels, probability, 0.1)[:20] == 0).sum() == 8  # at least eight
