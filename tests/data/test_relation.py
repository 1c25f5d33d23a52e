import numpy as np
import torch

from detaux.data.relation import relate_labels


def test_labels_differ_only_if_both_are_known():
    first, second = [0, 0, 0, -1, -1], [0, 1, -1, 1, -1]
    for make in (torch.tensor, np.array):
        is_different, is_known = relate_labels(make(first), make(second))
        assert is_different.tolist() == [False, True, False, False, False]
        assert is_known.tolist() == [True, True, False, False, False]
