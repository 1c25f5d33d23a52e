import numpy as np

from detaux.data.draws import seed_generator
from detaux.out_of_fold.training import draw_balanced


def test_a_step_draws_each_cluster_equally_often():
    labels = np.repeat([1, 0], [90, 10])
    drawn = draw_balanced(labels, 50, 64, seed_generator(0)).numpy()
    counts = np.bincount(labels[drawn.ravel()])
    assert abs(counts[0] / drawn.size - 0.5) < 0.05
    assert set(drawn.ravel()) == set(range(100))
