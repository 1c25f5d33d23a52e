import math

import pytest
import torch

from detaux.losses.oracle import compute_normalizer, compute_oracle, score_subspaces
from detaux.losses.pair_measures import measure_pairs

NORMALIZERS = ["mean_norm", "mean_distance", "rms_distance"]
FORMS = ["distance", "squared"]

# Two pairs, three subspaces of one feature. Pair 0 differs in label; pair 1 moves by 2 in subspace 1 and by 3 in subspace 2,
# whose vectors are ten times as long.
FIRST = torch.tensor([[[5.0], [1.0], [10.0]], [[0.0], [0.0], [8.5]]], dtype=torch.float64)
SECOND = torch.tensor([[[9.0], [1.0], [10.0]], [[7.0], [2.0], [11.5]]], dtype=torch.float64)
IS_DIFFERENT = torch.tensor([True, False])


def mark_subspaces(first, second, is_different, is_known=None, *, normalizer, **options):
    """The oracle's reading of projections."""
    measures = measure_pairs(torch.cat([first, second]), len(first), normalizer)
    return compute_oracle(measures.squared_BK, measures.normalizer_K, is_different, is_known, **options)


def compute_hand(**overrides):
    options = {"normalizer": "mean_norm", "form": "distance", "sharpness": 0.0} | overrides
    return mark_subspaces(FIRST, SECOND, IS_DIFFERENT, **options)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean_norm", [(1 + 1 + 0 + 2) / 4, (10 + 10 + 8.5 + 11.5) / 4]),
        ("mean_distance", [2 * (0 + 1 + 1 + 1 + 1 + 2) / 16, 2 * (0 + 4 * 1.5 + 3) / 16]),
        ("rms_distance", [math.sqrt(2 * (4 * 1 + 4) / 16), math.sqrt(2 * (4 * 1.5**2 + 9) / 16)]),
    ],
)
def test_normalizer_matches_hand_value(name, expected):
    normalizer = compute_normalizer(torch.cat([FIRST, SECOND]), name)
    torch.testing.assert_close(normalizer[1:], torch.tensor(expected, dtype=torch.float64), rtol=1e-7, atol=0)


@pytest.mark.parametrize("subspaces", [2, 10])
@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer_matches_loop_version(loops, draw, name, subspaces):
    vectors = draw(82, subspaces, 63)
    expected = torch.tensor(loops.compute_normalizer(vectors.tolist(), name), dtype=torch.float64)
    torch.testing.assert_close(compute_normalizer(vectors, name), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer_in_float32_holds_for_a_small_cloud_far_from_zero(loops, draw, name):
    vectors = (10 + 1e-3 * draw(64, 1, 16)).float()
    expected = torch.tensor(loops.compute_normalizer(vectors.double().tolist(), name))
    torch.testing.assert_close(compute_normalizer(vectors, name), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer_gradient_matches_finite_differences(draw, name):
    assert torch.autograd.gradcheck(
        lambda vectors: compute_normalizer(vectors, name), (draw(5, 2, 3).requires_grad_(),)
    )


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer_of_a_constant_subspace_is_positive_with_zero_gradient(name):
    vectors = torch.zeros(4, 2, 3, requires_grad=True)
    normalizer = compute_normalizer(vectors, name)
    normalizer.sum().backward()
    assert (normalizer > 0).all()
    assert torch.equal(vectors.grad, torch.zeros(4, 2, 3))


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer_scales_with_its_subspace_alone(draw, name):
    vectors = draw(6, 2, 3)
    scaled = vectors * torch.tensor([1.0, 4.0])[:, None]
    expected = compute_normalizer(vectors, name) * torch.tensor([1.0, 4.0])
    torch.testing.assert_close(compute_normalizer(scaled, name), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer_ignores_strides_and_computes_in_float32(draw, check_inputs, name):
    check_inputs(lambda vectors: compute_normalizer(vectors, name), draw(82, 10, 63))


def test_normalizer_refuses_an_unknown_name(draw):
    with pytest.raises(KeyError, match="median"):
        compute_normalizer(draw(2, 2, 2), "median")


def test_oracle_marks_the_farther_subspace_relative_to_its_scale():
    assert compute_hand().tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(("form", "near", "far"), [("distance", 2 / 1, 3 / 10), ("squared", 4 / 1, 9 / 10)])
def test_oracle_matches_hand_softmax(form, near, far):
    share = 2**near / (2**near + 2**far)
    expected = torch.tensor([[1, 0, 0], [0, share, 1 - share]], dtype=torch.float64)
    torch.testing.assert_close(compute_hand(form=form, sharpness=math.log(2)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("subspaces", [2, 10])
@pytest.mark.parametrize("sharpness", [0.0, 5.0, 1e6])
@pytest.mark.parametrize(("form", "normalizer"), [("distance", "mean_norm"), ("squared", "mean_distance")])
def test_oracle_matches_loop_version(loops, draw_pairs, form, normalizer, sharpness, subspaces):
    """The paper's form and the official code's, hard and soft."""
    first, second, is_different = draw_pairs(subspaces)
    expected = loops.compute_weights(
        first.tolist(), second.tolist(), is_different.tolist(), normalizer, form, sharpness, alpha=1
    )
    options = {"normalizer": normalizer, "form": form, "sharpness": sharpness, "alpha": 1}
    changed = mark_subspaces(first, second, is_different, **options)
    torch.testing.assert_close(changed, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("alpha", [0, 2])
def test_oracle_gives_different_labels_to_alpha_and_equal_ones_to_the_rest(draw_pairs, alpha):
    first, second, is_different = draw_pairs(4)
    for sharpness in (0.0, 3.0):
        changed = mark_subspaces(
            first, second, is_different, normalizer="mean_norm", form="distance", sharpness=sharpness, alpha=alpha
        )
        torch.testing.assert_close(changed.sum(1), torch.ones(len(first), dtype=torch.float64))
        assert torch.equal(changed[:, alpha], is_different.double())


def test_oracle_ties_go_to_the_first_free_subspace():
    same = torch.zeros(1, 4, 2)
    changed = mark_subspaces(same, same, torch.tensor([False]), normalizer="mean_norm", form="distance", sharpness=0.0)
    assert changed.tolist() == [[0, 1, 0, 0]]


def test_oracle_sharpened_tends_to_the_hard_choice():
    torch.testing.assert_close(compute_hand(sharpness=1e3), compute_hand(sharpness=0.0), rtol=0, atol=1e-12)


def test_oracle_follows_a_permutation_of_pairs_and_ignores_which_image_is_first(draw_pairs):
    first, second, is_different = draw_pairs(5)
    order = torch.arange(len(first)).flip(0)
    options = {"normalizer": "mean_distance", "form": "distance", "sharpness": 2.0}
    changed = mark_subspaces(first, second, is_different, **options)
    swapped = mark_subspaces(second[order], first[order], is_different[order], **options)
    torch.testing.assert_close(swapped, changed[order], rtol=0, atol=1e-12)


def test_oracle_has_no_gradient(draw_pairs):
    first, second, is_different = draw_pairs(3)
    options = {"normalizer": "mean_norm", "form": "distance", "sharpness": 2.0}
    assert not mark_subspaces(first.requires_grad_(), second.requires_grad_(), is_different, **options).requires_grad


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_score_gradient_matches_finite_differences(draw_pairs, normalizer, form):
    def measure(first, second, normalizer):
        measures = measure_pairs(torch.cat([first, second]), len(first), normalizer)
        return measures.squared_BK, measures.normalizer_K

    first, second, _ = draw_pairs(3, pairs=3, latent=2)
    inputs = (first.requires_grad_(), second.requires_grad_())
    assert torch.autograd.gradcheck(lambda *both: score_subspaces(*measure(*both, normalizer), form), inputs)


@pytest.mark.parametrize("form", FORMS)
def test_oracle_ignores_strides_and_computes_in_float32(draw_pairs, check_inputs, form):
    first, second, is_different = draw_pairs(10)
    options = {"normalizer": "mean_distance", "form": form, "sharpness": 2.0}
    check_inputs(lambda *both: mark_subspaces(*both, is_different, **options), first, second)


def test_oracle_refuses_an_unknown_form():
    with pytest.raises(AssertionError, match="cosine"):
        compute_hand(form="cosine")


def test_oracle_gives_a_pair_of_unknown_relation_to_whatever_changed_most():
    """Subspace 0 (alpha) changes by 2, 1 by 0.5, 2 by 0; over their mean norms of 1, 0.75 and 1."""
    first = torch.tensor([[0.0, 0.5, 1.0]] * 3)[..., None]
    second = torch.tensor([[2.0, 1.0, 1.0]] * 3)[..., None]
    is_different, is_known = torch.tensor([False, False, True]), torch.tensor([True, False, True])
    options = {"normalizer": "mean_norm", "form": "distance", "sharpness": 0.0}
    changed = mark_subspaces(first, second, is_different, is_known, **options)
    assert changed.argmax(1).tolist() == [1, 0, 0]
