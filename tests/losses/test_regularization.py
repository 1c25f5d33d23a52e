import pytest
import torch

from detaux.losses.pair_measures import measure_pairs
from detaux.losses.regularization import compute_usage, regularization_loss

FORMS = ["paper", "official"]
OPTIONS = {"normalizer": "mean_distance", "form": "distance", "sharpness": 5.0}


def use_subspaces(first, second, is_different, *, normalizer, **options):
    """The usage of projections."""
    measures = measure_pairs(torch.cat([first, second]), len(first), normalizer)
    return compute_usage(measures.squared_BK, measures.normalizer_K, is_different, **options)


def compute_gradients(first, second, is_different, **overrides):
    """Gradients [B, K, D] of the paper form to first and second."""
    first, second = first.clone().requires_grad_(), second.clone().requires_grad_()
    regularization_loss(use_subspaces(first, second, is_different, **(OPTIONS | overrides)), "paper").backward()
    return first.grad, second.grad


@pytest.mark.parametrize(("form", "expected"), [("paper", 1 / 24), ("official", 100 / 24 / 3)])
def test_regularization_matches_hand_value(form, expected):
    """Mean usage (1/2, 1/4, 1/4) against 1/3: 1/36 + 2/144."""
    usage = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], dtype=torch.float64)
    assert regularization_loss(usage, form).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("subspaces", [2, 10])
@pytest.mark.parametrize("form", FORMS)
def test_regularization_matches_loop_version(loops, draw, form, subspaces):
    usage = torch.softmax(2 * draw(41, subspaces), 1)
    expected = loops.compute_regularization(usage.tolist(), form)
    assert regularization_loss(usage, form).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("subspaces", [2, 10])
@pytest.mark.parametrize(("form", "normalizer"), [("distance", "mean_norm"), ("squared", "mean_distance")])
def test_usage_matches_loop_version(loops, draw_pairs, form, normalizer, subspaces):
    first, second, is_different = draw_pairs(subspaces)
    expected = loops.compute_weights(
        first.tolist(), second.tolist(), is_different.tolist(), normalizer, form, 0.7, alpha=0
    )
    usage = use_subspaces(first, second, is_different, normalizer=normalizer, form=form, sharpness=0.7)
    torch.testing.assert_close(usage, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_regularization_is_zero_exactly_at_even_usage(form):
    even = torch.eye(4).repeat(3, 1)
    assert regularization_loss(even, form) == pytest.approx(0, abs=1e-14)
    assert regularization_loss(torch.eye(4)[[0, 1, 2, 2]], form) > 1e-3


def test_regularization_is_largest_where_one_subspace_takes_all():
    worst = regularization_loss(torch.tensor([[0.0, 1.0, 0.0]]), "paper")
    assert worst.item() == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize("form", FORMS)
def test_regularization_ignores_the_order_of_pairs_and_subspaces(draw, form):
    usage = torch.softmax(draw(7, 4), 1)
    loss = regularization_loss(usage.flip(0)[:, [2, 0, 3, 1]], form)
    torch.testing.assert_close(loss, regularization_loss(usage, form), rtol=1e-12, atol=0)


def test_regularization_official_form_has_no_gradient_and_paper_form_has(draw):
    usage = torch.softmax(draw(7, 4), 1).requires_grad_()
    assert not regularization_loss(usage, "official").requires_grad
    assert torch.autograd.gradcheck(lambda values: regularization_loss(values, "paper"), (usage,))


@pytest.mark.parametrize("normalizer", ["mean_norm", "mean_distance", "rms_distance"])
@pytest.mark.parametrize("form", ["distance", "squared"])
def test_usage_gradient_matches_finite_differences(draw_pairs, normalizer, form):
    first, second, is_different = draw_pairs(4, pairs=4, latent=2)
    options = {"normalizer": normalizer, "form": form, "sharpness": 1.5}
    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda *both: regularization_loss(use_subspaces(*both, is_different, **options), "paper"), inputs
    )


def test_usage_gradient_reaches_free_subspaces_and_no_alpha(draw_pairs):
    pairs = draw_pairs(4, pairs=7, latent=5)
    for gradient in compute_gradients(*pairs, alpha=2):
        reached = gradient.norm(dim=2) > 0
        assert reached[:, [0, 1, 3]].all()
        assert not reached[:, 2].any()


def test_usage_gradient_reaches_different_labels_only_through_the_normaliser(draw_pairs):
    """mean_norm: the gradient at a vector of a pair with different labels is along the vector, whose length alone counts."""
    first, second, is_different = draw_pairs(4, pairs=7, latent=5)
    options = {"normalizer": "mean_norm", "sharpness": 1.0}
    for values, gradient in zip(
        (first, second), compute_gradients(first, second, is_different, **options), strict=True
    ):
        free, pull = values[:, 1:], gradient[:, 1:]
        cosine = torch.cosine_similarity(free, pull, dim=2).abs()
        torch.testing.assert_close(cosine[is_different], torch.ones_like(cosine[is_different]), rtol=0, atol=1e-9)
        assert (cosine[~is_different] < 0.999).all()


@pytest.mark.parametrize("case", ["all labels differ", "one free subspace", "hard"])
def test_usage_gradient_is_zero_where_no_share_can_move(draw_pairs, case):
    first, second, is_different = draw_pairs(2 if case == "one free subspace" else 4, pairs=7, latent=5)
    if case == "all labels differ":
        is_different = torch.ones_like(is_different)
    if case == "hard":
        usage = use_subspaces(first.requires_grad_(), second, is_different, **(OPTIONS | {"sharpness": 0.0}))
        assert not usage.requires_grad
        return
    for gradient in compute_gradients(first, second, is_different):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_usage_cannot_change_by_scaling_a_subspace(draw_pairs):
    """Distance over normaliser has no scale, so the gradient of a subspace is orthogonal to its projections."""
    first, second, is_different = draw_pairs(4, pairs=7, latent=5)
    scale = torch.tensor([1.0, 3.0, 0.1, 7.0], dtype=torch.float64)[:, None]
    usage = use_subspaces(first, second, is_different, **OPTIONS)
    scaled = use_subspaces(first * scale, second * scale, is_different, **OPTIONS)
    torch.testing.assert_close(scaled, usage, rtol=0, atol=1e-6)
    gradients = compute_gradients(first, second, is_different)
    along = sum((values * gradient).sum((0, 2)) for values, gradient in zip((first, second), gradients, strict=True))
    assert along.abs().max() < 1e-8


def test_usage_of_one_gradient_step_is_more_even(draw_pairs):
    first, second, is_different = draw_pairs(4, pairs=20, latent=5)
    first, second = first.clone(), second.clone()
    second[:, 1] += 3.0

    def compute():
        return regularization_loss(use_subspaces(first, second, is_different, **OPTIONS), "paper")

    before = compute()
    for values, gradient in zip((first, second), compute_gradients(first, second, is_different), strict=True):
        values -= 0.1 * gradient
    assert compute() < before


def test_usage_of_coinciding_pairs_is_even_with_finite_gradient():
    same = torch.zeros(3, 4, 2)
    is_different = torch.zeros(3, dtype=torch.bool)
    usage = use_subspaces(same, same, is_different, **OPTIONS)
    torch.testing.assert_close(usage, torch.tensor([[0, 1 / 3, 1 / 3, 1 / 3]]).expand(3, 4))
    for gradient in compute_gradients(same, same, is_different):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("form", FORMS)
def test_regularization_ignores_strides_and_computes_in_float32(draw, draw_pairs, check_inputs, form):
    check_inputs(lambda usage: regularization_loss(usage, form), torch.softmax(draw(41, 10), 1))
    first, second, is_different = draw_pairs(10)
    check_inputs(lambda *both: use_subspaces(*both, is_different, **OPTIONS), first, second)


def test_regularization_refuses_an_unknown_form(draw):
    with pytest.raises(AssertionError, match="offical"):
        regularization_loss(draw(2, 2), "offical")
