import itertools
import math

import pytest

from detaux.config.schema import BetaConfig, ScheduleConfig
from detaux.losses.schedule import compute_beta, compute_betas


@pytest.mark.parametrize(
    ("progress", "rise"), [(0.0, math.exp(-10)), (0.36, math.exp(-1)), (0.4, 1.0), (0.41, 1.0), (1.0, 1.0)]
)
def test_beta_matches_hand_value(progress, rise):
    assert compute_beta(progress, rate=25, middle=0.4, shape="rise") == pytest.approx(rise, rel=1e-12)
    assert compute_beta(progress, rate=25, middle=0.4, shape="fall") == pytest.approx(1 - rise, abs=1e-12)
    assert compute_beta(progress, rate=25, middle=0.4, shape="constant") == 1.0


def test_beta_rises_and_falls_monotonically_within_zero_and_one():
    for shape, sign in (("rise", 1), ("fall", -1)):
        curve = [compute_beta(step / 100, rate=7, middle=0.6, shape=shape) for step in range(101)]
        assert all(sign * (later - earlier) >= 0 for earlier, later in itertools.pairwise(curve))
        assert len(set(curve)) > 50
        assert 0 <= min(curve) < max(curve) <= 1


def test_beta_of_a_steep_curve_does_not_overflow():
    assert compute_beta(1.0, rate=1e6, middle=0.0, shape="rise") == 1.0


def test_betas_default_to_the_released_constants():
    betas = compute_betas(0.3, ScheduleConfig())
    expected = (math.exp(25 * (0.3 - 0.4)), math.exp(25 * (0.3 - 0.5)), 1 - math.exp(25 * (0.3 - 0.4)))
    assert betas == pytest.approx(expected, rel=1e-12)


def test_betas_are_zero_until_the_warmup_ends():
    config = ScheduleConfig(warmup_fraction=0.25, beta3=BetaConfig(shape="constant"))
    assert compute_betas(math.nextafter(0.25, 0), config) == (0.0, 0.0, 0.0)
    assert all(beta > 0 for beta in compute_betas(0.25, config))


def test_betas_end_with_regularization_off():
    assert compute_betas(1.0, ScheduleConfig()) == (1.0, 1.0, 0.0)


def test_beta_refuses_an_unknown_shape():
    with pytest.raises(AssertionError, match="wave"):
        compute_beta(0.5, rate=1, middle=0.5, shape="wave")
