def test_independent_pairs_follow_the_uniform_draw(gather, build_pairs):
    _, is_different = gather(build_pairs(partner="independent"), steps=200)
    assert abs(is_different.float().mean() - 2 / 3) < 0.03
