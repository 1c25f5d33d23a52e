"""The components of a code are measured against a factor and a label that are planted in it."""

import numpy as np


def test_component_that_holds_the_factor_comes_first_with_its_match_within_the_classes(load):
    random = np.random.default_rng(0)
    label = random.integers(10, size=3000)
    factor = np.where(random.random(3000) < 0.95, label, random.integers(10, size=3000))
    sources = np.stack([random.random(3000), factor + 0.01 * random.random(3000), random.random(3000)], axis=1)
    codes = sources @ np.array([[1.0, 0.3, -0.5], [0.2, 1.0, 0.4], [0.1, -0.6, 1.0]])
    best, second, _ = load("components").measure_components(codes, factor, label)
    assert best["v_factor"] > 0.85  # parts of equal size do not quite fit the values
    assert best["ami_within_classes"] > 0.4
    assert best["v_label"] < best["v_factor"]
    assert second["v_factor"] < 0.1


def test_classes_in_which_a_component_is_turned_or_blind_are_told_from_the_others(load):
    random = np.random.default_rng(1)
    label, factor = random.integers(5, size=2000), random.integers(2, size=2000)
    direction = np.array([1, 1, -1, 0, 1])[label]
    sources = np.stack([random.random(2000), 3 * direction * factor + random.random(2000)], axis=1)
    found = load("components").list_directions(sources @ np.array([[1.0, 0.3], [0.2, 1.0]]), factor, label)
    assert found == {"same": [0, 1, 4], "turned": [2], "none": [3]}
