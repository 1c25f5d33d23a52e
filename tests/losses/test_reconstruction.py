import pytest
import torch

from detaux.losses.reconstruction import reconstruction_loss

FORMS = ["sum", "mean"]


@pytest.mark.parametrize(("form", "expected"), [("sum", (1 + 4 + 0.25) / 2), ("mean", (1 + 4 + 0.25) / 8)])
def test_reconstruction_matches_hand_value(form, expected):
    images = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]], [[[0.5, 0.0], [0.0, 0.0]]]])
    reconstructions = torch.tensor([[[[1.0, 1.0], [2.0, 0.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert reconstruction_loss(images, reconstructions, form).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_reconstruction_matches_loop_version(loops, draw, form):
    images, reconstructions = draw(41, 3, 7, 5), draw(41, 3, 7, 5)
    expected = loops.compute_reconstruction(images.flatten(1).tolist(), reconstructions.flatten(1).tolist(), form)
    assert reconstruction_loss(images, reconstructions, form).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_reconstruction_is_zero_exactly_at_equal_images(draw, form):
    images = draw(3, 1, 2, 2)
    assert reconstruction_loss(images, images, form) == 0
    assert reconstruction_loss(images, images + 1e-3, form) > 0


@pytest.mark.parametrize("form", FORMS)
def test_reconstruction_gradient_matches_finite_differences(draw, form):
    images, reconstructions = draw(2, 1, 2, 3).requires_grad_(), draw(2, 1, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda *both: reconstruction_loss(*both, form), (images, reconstructions))


@pytest.mark.parametrize("form", FORMS)
def test_reconstruction_ignores_strides_and_computes_in_float32(draw, check_inputs, form):
    check_inputs(lambda *both: reconstruction_loss(*both, form), draw(41, 3, 7, 5), draw(41, 3, 7, 5))


def test_reconstruction_refuses_an_unknown_form(draw):
    with pytest.raises(AssertionError, match="total"):
        reconstruction_loss(draw(2, 1), draw(2, 1), "total")
