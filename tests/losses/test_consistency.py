import pytest
import torch

from detaux.losses.consistency import consistency_loss, mix_subspaces

FORMS = ["paper", "official"]


def lose_consistency(reencoded, targets, subspace, form):
    """The loss where this process has all the mixes."""
    return consistency_loss(reencoded, targets, subspace, form, len(subspace))


def draw_mixes(pairs, subspaces):
    """Every (pair, subspace), in an order that keeps neither together."""
    order = torch.randperm(pairs * subspaces, generator=torch.Generator().manual_seed(0))
    return order // subspaces, order % subspaces


def test_mix_matches_hand_value():
    first = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    second = torch.tensor([[[10.0], [20.0]], [[30.0], [40.0]]])
    mixed, targets = mix_subspaces(first, second, torch.tensor([0, 1]), torch.tensor([1, 0]))
    assert mixed.tolist() == [[12.0], [43.0]]
    assert targets.tolist() == [[[10.0], [2.0]], [[3.0], [40.0]]]


@pytest.mark.parametrize("subspaces", [2, 10])
def test_mix_matches_loop_version(loops, draw_pairs, subspaces):
    first, second, _ = draw_pairs(subspaces)
    pair, subspace = draw_mixes(len(first), subspaces)
    mixed, targets = mix_subspaces(first, second, pair, subspace)
    for row in range(0, len(pair), 7):
        code, target = loops.mix(first.tolist(), second.tolist(), int(pair[row]), int(subspace[row]))
        torch.testing.assert_close(mixed[row], torch.tensor(code, dtype=torch.float64), rtol=0, atol=1e-10)
        assert targets[row].tolist() == target


def test_mix_code_is_the_sum_of_its_targets(draw_pairs):
    first, second, _ = draw_pairs(10)
    mixed, targets = mix_subspaces(first, second, *draw_mixes(len(first), 10))
    torch.testing.assert_close(mixed, targets.sum(1), rtol=0, atol=1e-12)


def test_mix_gradient_reaches_what_was_mixed_and_nothing_else(draw_pairs):
    first, second, _ = (values for values in draw_pairs(3, pairs=2, latent=4))
    first.requires_grad_(), second.requires_grad_()
    mixed, targets = mix_subspaces(first, second, torch.tensor([1]), torch.tensor([2]))
    (mixed.sum() + targets.sum()).backward()
    from_first = torch.tensor([[False, False, False], [False, False, True]])
    from_second = torch.tensor([[False, False, False], [True, True, False]])
    assert torch.equal(first.grad.abs().sum(2) > 0, from_first)
    assert torch.equal(second.grad.abs().sum(2) > 0, from_second)


def test_mix_computes_bfloat16_in_float32(draw_pairs):
    first, second, _ = draw_pairs(10)
    first, second = first.bfloat16(), second.bfloat16()
    indices = draw_mixes(len(first), 10)
    for rounded, wide in zip(
        mix_subspaces(first, second, *indices), mix_subspaces(first.float(), second.float(), *indices), strict=True
    ):
        assert rounded.dtype == torch.float32
        assert torch.equal(rounded, wide)


@pytest.mark.parametrize(("form", "expected"), [("paper", 2 * (4 + 9) / 2), ("official", (1 + 4 + 9 + 16) / 4)])
def test_consistency_matches_hand_value(form, expected):
    """Two mixes, two projectors, one feature: errors 1, 2 and 3, 4; the first took subspace 1, the second 0."""
    reencoded, targets = torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]]), torch.zeros(2, 2, 1)
    assert lose_consistency(reencoded, targets, torch.tensor([1, 0]), form).item() == expected


@pytest.mark.parametrize("subspaces", [2, 10])
@pytest.mark.parametrize("form", FORMS)
def test_consistency_matches_loop_version(loops, draw, form, subspaces):
    reencoded, targets = draw(41, subspaces, 63), draw(41, subspaces, 63)
    subspace = torch.arange(41) % subspaces
    expected = loops.compute_consistency(reencoded.tolist(), targets.tolist(), subspace.tolist(), form)
    assert lose_consistency(reencoded, targets, subspace, form).item() == pytest.approx(expected, rel=1e-10)


def draw_model(draw, subspaces, latent):
    """Nonlinear p(f(g(code))), [R, D] -> [R, K, D]."""
    weight, projectors = draw(latent, latent), draw(subspaces, latent, latent)
    return lambda code: torch.einsum("re,ked->rkd", torch.tanh(code @ weight), projectors)


def test_consistency_paper_form_over_all_mixes_equals_eq_9(loops, draw, draw_pairs):
    first, second, _ = draw_pairs(3, pairs=5, latent=4)
    model = draw_model(draw, 3, 4)
    expected = 0.0
    for b in range(5):
        for i in range(3):
            code, _ = loops.mix(first.tolist(), second.tolist(), b, i)
            again = model(torch.tensor([code], dtype=torch.float64))[0, i]
            expected += float((again - first[b, i]).square().sum()) / 5
    pair, subspace = draw_mixes(5, 3)
    mixed, targets = mix_subspaces(first, second, pair, subspace)
    assert lose_consistency(model(mixed), targets, subspace, "paper").item() == pytest.approx(expected, rel=1e-10)


def test_consistency_paper_form_over_drawn_mixes_is_unbiased(draw, draw_pairs):
    """Equal disjoint draws that cover all mixes average to the value over all mixes."""
    first, second, _ = draw_pairs(3, pairs=4, latent=5)
    model = draw_model(draw, 3, 5)

    def compute(pair, subspace):
        mixed, targets = mix_subspaces(first, second, pair, subspace)
        return lose_consistency(model(mixed), targets, subspace, "paper")

    pair, subspace = draw_mixes(4, 3)
    draws = [compute(*part) for part in zip(pair.split(4), subspace.split(4), strict=True)]
    torch.testing.assert_close(torch.stack(draws).mean(), compute(pair, subspace), rtol=1e-12, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_consistency_gradient_matches_finite_differences(draw, form):
    inputs = (draw(3, 2, 4).requires_grad_(), draw(3, 2, 4).requires_grad_())
    subspace = torch.tensor([0, 1, 1])
    assert torch.autograd.gradcheck(lambda *both: lose_consistency(*both, subspace, form), inputs)


@pytest.mark.parametrize("form", FORMS)
def test_consistency_gradient_reaches_both_arguments_where_documented(draw, form):
    reencoded, targets = draw(3, 2, 4).requires_grad_(), draw(3, 2, 4).requires_grad_()
    subspace = torch.tensor([0, 1, 1])
    lose_consistency(reencoded, targets, subspace, form).backward()
    reached = torch.nn.functional.one_hot(subspace, 2) > 0 if form == "paper" else torch.ones(3, 2, dtype=torch.bool)
    for gradient in (reencoded.grad, targets.grad):
        assert torch.equal((gradient != 0).all(2), reached)
        assert torch.equal((gradient != 0).any(2), reached)


@pytest.mark.parametrize("form", FORMS)
def test_consistency_is_zero_exactly_where_targets_are_met(draw, form):
    targets, subspace = draw(3, 2, 4), torch.tensor([0, 1, 1])
    assert lose_consistency(targets, targets, subspace, form) == 0
    assert lose_consistency(targets + 1e-3, targets, subspace, form) > 0


@pytest.mark.parametrize("form", FORMS)
def test_consistency_ignores_strides_and_computes_in_float32(draw, check_inputs, form):
    subspace = torch.arange(41) % 10
    check_inputs(lambda *both: lose_consistency(*both, subspace, form), draw(41, 10, 63), draw(41, 10, 63))


def test_consistency_refuses_an_unknown_form(draw):
    with pytest.raises(AssertionError, match="offical"):
        lose_consistency(draw(2, 2, 2), draw(2, 2, 2), torch.tensor([0, 1]), "offical")


@pytest.mark.parametrize("form", FORMS)
def test_consistency_of_parts_averages_to_that_of_the_whole_however_uneven(draw, form):
    reencoded, targets, subspace = draw(6, 3, 4), draw(6, 3, 4), torch.arange(6) % 3
    whole = consistency_loss(reencoded, targets, subspace, form, 6)
    bounds = (slice(0, 5), slice(5, 6), slice(6, 6))
    parts = [consistency_loss(reencoded[part], targets[part], subspace[part], form, 6 / 3) for part in bounds]
    torch.testing.assert_close(sum(parts) / 3, whole, rtol=1e-12, atol=0)
