import pytest
import torch

from detaux.losses.distance import OFFICIAL_MARGIN, OFFICIAL_PUSH, distance_loss
from detaux.losses.pair_measures import measure_pairs

FORMS = ["paper", "official"]


def lose_distance(first, second, changed, **options):
    """The loss of projections."""
    squared = measure_pairs(torch.cat([first, second]), len(first), "mean_norm").squared_BK
    return distance_loss(squared, changed, **options)


FIRST = torch.zeros(2, 2, 2, dtype=torch.float64)
SECOND = torch.tensor([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, 0.5]]], dtype=torch.float64)
CHANGED = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("form", "pull", "expected"),
    [
        ("paper", None, ((6 - 5) ** 2 + 1 + 4 + (6 - 0.5) ** 2) / 4),
        ("paper", [1.0, 0.0], ((6 - 5) ** 2 + 1 + (6 - 0.5) ** 2) / 4),
        ("official", None, (0 + (1 + 0.5) + (4 + 0.5) + 0) / 4),
        ("official", [2.0, 0.0], (0 + (2 + 0.5) + 0.5 + 0) / 4),
    ],
)
def test_distance_matches_hand_value(form, pull, expected):
    pull_B = None if pull is None else torch.tensor(pull)
    loss = lose_distance(FIRST, SECOND, CHANGED, form=form, margin=6.0, pull_B=pull_B)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("subspaces", [2, 10])
@pytest.mark.parametrize("scale", [1.0, 0.01], ids=["far", "near"])
@pytest.mark.parametrize("form", FORMS)
def test_distance_matches_loop_version(loops, draw, draw_pairs, form, scale, subspaces):
    """Scales and margin put pairs on both sides of either hinge; the oracle is soft."""
    first, second, is_different = draw_pairs(subspaces)
    first, second = scale * first, scale * second
    changed = torch.softmax(3 * draw(len(first), subspaces), 1)
    pull = torch.where(is_different, 0.3, 1.0).double()
    expected = loops.compute_distance(
        first.tolist(), second.tolist(), changed.tolist(), form, 11.0 * scale, pull.tolist()
    )
    loss = lose_distance(first, second, changed, form=form, margin=11.0 * scale, pull_B=pull)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_distance_gradient_matches_finite_differences(draw_pairs, one_hot, form):
    first, second, _ = (values * 0.3 for values in draw_pairs(3, pairs=4, latent=2))
    changed = one_hot(3, pairs=4)
    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda *both: lose_distance(*both, changed, form=form, margin=2.0), inputs)


@pytest.mark.parametrize("form", FORMS)
def test_distance_is_least_where_only_the_marked_subspace_differs(form):
    second = FIRST.clone()
    second[0, 0, 0] = second[1, 1, 1] = 1.0
    constant = OFFICIAL_PUSH * OFFICIAL_MARGIN / 2 if form == "official" else 0.0
    best = lose_distance(FIRST, second, CHANGED, form=form, margin=1.0)
    assert best.item() == pytest.approx(constant, abs=1e-12)
    assert lose_distance(FIRST, second, 1 - CHANGED, form=form, margin=1.0) > best
    assert lose_distance(FIRST, FIRST, CHANGED, form=form, margin=1.0) > best


@pytest.mark.parametrize("form", FORMS)
def test_distance_ignores_the_order_of_pairs_and_images(draw_pairs, one_hot, form):
    first, second, _ = draw_pairs(3)
    changed, order = one_hot(3), torch.arange(len(first)).flip(0)
    loss = lose_distance(first, second, changed, form=form, margin=11.0)
    swapped = lose_distance(second[order], first[order], changed[order], form=form, margin=11.0)
    torch.testing.assert_close(swapped, loss, rtol=1e-12, atol=0)


def compute_gradient(second, form, margin, pull_B=None):
    first, second = FIRST.clone().requires_grad_(), second.clone().requires_grad_()
    changed = CHANGED.clone().requires_grad_()
    pull_B = None if pull_B is None else pull_B.requires_grad_()
    lose_distance(first, second, changed, form=form, margin=margin, pull_B=pull_B).backward()
    assert changed.grad is None
    assert pull_B is None or pull_B.grad is None
    assert torch.equal(first.grad, -second.grad)
    return second.grad


@pytest.mark.parametrize("form", FORMS)
def test_distance_gradient_pulls_unmarked_subspaces_only_beyond_the_margin(form):
    gradient = compute_gradient(SECOND, form, margin=0.1)
    expected = 2 * SECOND * (1 - CHANGED)[:, :, None] / 4
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=0)


def test_distance_gradient_pushes_a_marked_subspace_inside_the_margin():
    gradient = compute_gradient(SECOND, "paper", margin=6.0)
    direction = SECOND[0, 0] / 5
    torch.testing.assert_close(gradient[0, 0], -2 * (6 - 5) * direction / 4, rtol=1e-12, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_distance_gradient_of_pairs_without_pull_is_zero_where_unmarked(form):
    gradient = compute_gradient(SECOND, form, margin=0.1, pull_B=torch.tensor([1.0, 0.0]))
    assert gradient[0, 1].abs().sum() > 0
    assert gradient[1].abs().sum() == 0


@pytest.mark.parametrize("form", FORMS)
def test_distance_gradient_of_coinciding_pairs_is_zero_not_nan(form):
    assert torch.equal(compute_gradient(FIRST, form, margin=1.0), torch.zeros_like(FIRST))


def test_distance_push_of_the_paper_holds_near_zero_where_the_official_fades():
    near = FIRST.clone()
    near[0, 0, 0] = 1e-6
    assert compute_gradient(near, "paper", margin=1.0)[0, 0].norm() > 0.4
    assert compute_gradient(near, "official", margin=1.0)[0, 0].norm() < 1e-4


@pytest.mark.parametrize("form", FORMS)
def test_distance_ignores_strides_and_computes_in_float32(draw_pairs, one_hot, check_inputs, form):
    first, second, _ = draw_pairs(10)
    check_inputs(lambda *all_: lose_distance(*all_, form=form, margin=11.0), first, second, one_hot(10))


def test_distance_refuses_an_unknown_form():
    with pytest.raises(AssertionError, match="offical"):
        lose_distance(FIRST, SECOND, CHANGED, form="offical", margin=1.0)
