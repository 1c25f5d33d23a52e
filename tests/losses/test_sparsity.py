import pytest
import torch

from detaux.losses.sparsity import compute_overlap, sparsity_loss

FORMS = ["paper", "official"]


def lose_sparsity(subspaces, form):
    """The loss of projections [N, K, D]."""
    return sparsity_loss(compute_overlap(subspaces), subspaces.shape[2], form)


@pytest.mark.parametrize(("form", "expected"), [("paper", (6 + 6) / 2), ("official", (6 + 6) / 4)])
def test_sparsity_matches_hand_value(form, expected):
    subspaces = torch.tensor([[[1.0, -2.0], [3.0, 0.0]], [[1.0, 1.0], [-1.0, 2.0]]])
    assert lose_sparsity(subspaces, form).item() == expected


def test_sparsity_of_cancelling_others_counts_only_the_third():
    """1 (1 - 1) and 1 (1 - 1) vanish; -1 (1 + 1) stays: the sum stands inside the norm of Eq. (8)."""
    assert lose_sparsity(torch.tensor([[[1.0], [1.0], [-1.0]]]), "paper").item() == 2.0


@pytest.mark.parametrize("subspaces", [2, 10])
@pytest.mark.parametrize("form", FORMS)
def test_sparsity_matches_loop_version(loops, draw, form, subspaces):
    values = draw(41, subspaces, 63)
    expected = loops.compute_sparsity(values.tolist(), form)
    assert lose_sparsity(values, form).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_sparsity_gradient_matches_finite_differences(draw, form):
    assert torch.autograd.gradcheck(lambda values: lose_sparsity(values, form), (draw(3, 4, 5).requires_grad_(),))


@pytest.mark.parametrize("form", FORMS)
def test_sparsity_is_zero_exactly_where_supports_are_disjoint(draw, form):
    values = draw(5, 3, 6)
    support = torch.eye(3, dtype=torch.float64).repeat_interleave(2, 1)
    disjoint = (values * support).requires_grad_()
    loss = lose_sparsity(disjoint, form)
    loss.backward()
    assert loss == 0
    assert torch.equal(disjoint.grad, torch.zeros_like(disjoint))
    assert lose_sparsity(values, form) > 0


def test_sparsity_gradient_reaches_only_shared_features():
    values = torch.tensor([[[1.0, 1.0], [2.0, 0.0], [3.0, 0.0]]], requires_grad=True)
    lose_sparsity(values, "paper").backward()
    # Feature 0: L = 1 (2 + 3) + 2 (1 + 3) + 3 (1 + 2), so dL/ds_i is twice the sum of the others.
    assert values.grad.tolist() == [[[10.0, 0.0], [8.0, 0.0], [6.0, 0.0]]]


@pytest.mark.parametrize("form", FORMS)
def test_sparsity_ignores_the_order_and_sign_of_subspaces(draw, form):
    values = draw(5, 4, 6)
    loss = lose_sparsity(values, form)
    torch.testing.assert_close(lose_sparsity(-values[:, [2, 0, 3, 1]], form), loss, rtol=1e-12, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_sparsity_ignores_strides_and_computes_in_float32(draw, check_inputs, form):
    check_inputs(lambda values: lose_sparsity(values, form), draw(41, 10, 63))


def test_sparsity_refuses_an_unknown_form(draw):
    with pytest.raises(AssertionError, match="offical"):
        lose_sparsity(draw(2, 2, 2), "offical")
