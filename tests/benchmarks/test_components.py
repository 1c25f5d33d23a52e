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
