import numpy as np
import pytest

from detaux.discover.merge import compute_dependence, merge_greedily

THRESHOLD = 0.012


def merge(labels, threshold=THRESHOLD, separate=lambda item: 0.0):
    """Groups of positions; the labels of a joint item are the pairs of its parts' labels."""

    def join(first, second):
        return (*first[0], *second[0]), np.unique(np.stack([first[1], second[1]]), axis=1, return_inverse=True)[
            1
        ].ravel()

    items = [((place,), values) for place, values in enumerate(labels)]
    depend = lambda first, second: compute_dependence(first[1], second[1])  # noqa: E731
    return [tuple(sorted(places)) for places, _ in merge_greedily(items, depend, join, separate, threshold)]


def draw_labels(samples, clusters, seed):
    return np.random.default_rng(seed).integers(clusters, size=samples)


def test_dependence_of_equal_labels_is_nearly_one():
    labels = draw_labels(4000, 5, 0)
    assert 0.99 < compute_dependence(labels, labels) <= 1.0


def test_dependence_matches_hand_computed_value():
    # shares [[.4, .1], [.1, .4]]: information .8 ln 1.6 + .2 ln .4, entropies ln 2, bias 1 / (2 * 1000)
    first, second = np.repeat([0, 0, 1, 1], [400, 100, 100, 400]), np.repeat([0, 1, 0, 1], [400, 100, 100, 400])
    expected = (0.8 * np.log(1.6) + 0.2 * np.log(0.4) - 1 / 2000) / np.log(2)
    assert compute_dependence(first, second) == pytest.approx(expected, rel=1e-9)


def test_dependence_is_relative_to_the_smaller_entropy():
    fine = draw_labels(4000, 8, 0)
    assert compute_dependence(fine, fine // 4) == pytest.approx(1.0, abs=0.01)


def test_dependence_ignores_noise_of_either_side():
    first, second = draw_labels(2000, 4, 0), draw_labels(2000, 4, 1)
    noise = np.random.default_rng(2).random(2000) < 0.3
    assert compute_dependence(np.where(noise, -1, first), np.where(noise, -1, second)) == 0.0
    joined = np.where(noise, -1, first)
    assert compute_dependence(joined, first) > 0.99


def test_dependence_without_a_common_clustered_point_is_zero():
    assert compute_dependence(np.array([0, 1, -1, -1]), np.array([-1, -1, 0, 1])) == 0.0


def test_dependence_with_one_cluster_left_is_zero():
    assert compute_dependence(np.array([0, 0, 0, 1]), np.array([0, 1, 1, -1])) == 0.0


@pytest.mark.parametrize("samples", [100, 300, 4000])
def test_independent_labels_stay_apart_however_few_samples(samples):
    merged = 0
    for seed in range(20):
        labels = [draw_labels(samples, 6, 100 * seed + number) for number in range(6)]
        merged += len(merge(labels)) < len(labels)
    assert merged <= 1


def test_plug_in_information_would_have_merged_them():
    from sklearn.metrics import mutual_info_score

    first, second = draw_labels(300, 6, 0), draw_labels(300, 6, 1)
    assert mutual_info_score(first, second) / np.log(6) > THRESHOLD
    assert compute_dependence(first, second) <= THRESHOLD


@pytest.mark.parametrize("samples", [300, 4000])
def test_two_views_of_one_factor_merge(samples):
    factor = draw_labels(samples, 4, 0)
    labels = [factor // 2, draw_labels(samples, 3, 1), (factor > 0).astype(int)]
    assert merge(labels) == [(0, 2), (1,)]


def test_merging_is_transitive():
    factor = draw_labels(4000, 4, 0)
    left, right = factor // 2, factor % 2
    assert compute_dependence(left, right) <= THRESHOLD
    assert merge([left, factor, right]) == [(0, 1, 2)]


def test_labels_of_one_cluster_stay_alone():
    labels = draw_labels(1000, 3, 0)
    assert merge([labels, labels, np.zeros(1000, int), np.full(1000, -1)]) == [(0, 1), (2,), (3,)]


def test_worse_separation_undoes_a_merge_and_leaves_the_others():
    one, two = draw_labels(2000, 3, 0), draw_labels(2000, 3, 1)
    values = {(0, 1): 2.0, (2, 3): 0.5}
    separate = lambda item: values.get(tuple(sorted(item[0])), 1.0)  # noqa: E731
    assert merge([one, one, two, two], separate=separate) == [(0, 1), (2,), (3,)]


def test_strongest_dependence_joins_first():
    """A bridge that leans on two independent factors goes to the one it tells more of, and then no longer bridges them."""
    draw = np.random.default_rng(0)
    one, two = draw_labels(4000, 4, 0), draw_labels(4000, 4, 1)
    bridge = np.where(draw.random(4000) < 0.8, one, np.where(draw.random(4000) < 0.5, two, draw_labels(4000, 4, 2)))
    assert compute_dependence(one, bridge) > compute_dependence(two, bridge) > 0
    items = [((0,), one), ((1,), bridge), ((2,), two)]
    found = merge_greedily(
        items,
        lambda first, second: compute_dependence(first[1], second[1]),
        lambda first, second: ((*first[0], *second[0]), first[1]),  # the joint clusters are the factor's own
        lambda item: 0.0,
        0.0,
    )
    assert [places for places, _ in found] == [(0, 1), (2,)]


def test_a_higher_threshold_merges_less():
    random = np.random.default_rng(0)
    first = random.integers(4, size=4000)
    second = np.where(random.random(4000) < 0.5, first, random.integers(4, size=4000))
    assert merge([first, second]) == [(0, 1)]
    assert merge([first, second], 0.9) == [(0,), (1,)]


def follow(labels, share, seed):
    """A factor of six values that equals the labels in a share of the points, and elsewhere is any other value."""
    random = np.random.default_rng(seed)
    return (labels + (random.random(len(labels)) >= share) * random.integers(1, 6, len(labels))) % 6


@pytest.mark.parametrize("share", [0.7, 0.95])
@pytest.mark.parametrize("samples", [600, 4000])
def test_factors_that_follow_the_label_do_not_depend_within_it(samples, share):
    label = draw_labels(samples, 6, 0)
    one, two = follow(label, share, 1), follow(label, share, 2)
    assert compute_dependence(one, two) > 10 * THRESHOLD
    assert compute_dependence(one, two, label) <= THRESHOLD


@pytest.mark.parametrize("share", [0.7, 0.95])
def test_parts_of_one_factor_that_follows_the_label_depend_within_it(share):
    label = draw_labels(4000, 6, 0)
    factor = follow(label, share, 1)
    assert compute_dependence(factor // 2, (factor > 0).astype(int), label) > THRESHOLD


def test_factors_that_together_decide_the_label_do_not_depend():
    one, two = draw_labels(4000, 2, 0), draw_labels(4000, 2, 1)
    assert compute_dependence(one, two, one ^ two) == 0.0


def test_dependence_given_the_class_matches_hand_computed_value():
    # counts [[700, 100], [100, 100]] in class 0 and [[100, 100], [100, 700]] in class 1
    first = np.repeat([0, 0, 1, 1] * 2, [700, 100, 100, 100, 100, 100, 100, 700])
    second = np.repeat([0, 1, 0, 1] * 2, [700, 100, 100, 100, 100, 100, 100, 700])
    information = 0.7 * np.log(0.7 / 0.64) + 0.2 * np.log(0.1 / 0.16) + 0.1 * np.log(0.1 / 0.04)
    entropy = -0.8 * np.log(0.8) - 0.2 * np.log(0.2)
    expected = (information - 2 / (2 * 2000)) / entropy
    assert compute_dependence(first, second, np.repeat([0, 1], 1000)) == pytest.approx(expected, rel=1e-9)
    assert compute_dependence(first, second) > 2 * expected


def test_images_without_a_label_are_a_class_like_the_others():
    label = draw_labels(3000, 6, 0)
    one, two = follow(label, 0.9, 1), follow(label, 0.9, 2)
    hidden = np.where(np.arange(3000) < 1500, label, -1)
    assert THRESHOLD < compute_dependence(one, two, hidden) < compute_dependence(one, two)
    assert compute_dependence(one, two, np.full(3000, -1)) == compute_dependence(one, two)


def test_dependence_is_the_smaller_of_both():
    label = draw_labels(2000, 4, 0)
    noisy = np.where(np.random.default_rng(5).random(2000) < 0.3, draw_labels(2000, 4, 3), label)
    weak = np.where(np.random.default_rng(6).random(2000) < 0.2, noisy, draw_labels(2000, 4, 4))
    assert 0 < compute_dependence(noisy, weak, label) < compute_dependence(noisy, weak)
