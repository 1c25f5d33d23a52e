import pytest

from detaux.errors import UserError


def test_one_factor_pairs_change_exactly_one_factor(gather, build_pairs):
    changed, is_different = gather(build_pairs(partner="one_factor", different=0.5))
    assert (changed.sum(1) == 1).all()
    assert (changed[is_different][:, 0]).all()


def test_one_factor_without_known_factors_is_refused(build_pairs, make_grid):
    with pytest.raises(UserError, match="one_factor needs known factors"):
        build_pairs(make_grid(has_factors=False), partner="one_factor")
