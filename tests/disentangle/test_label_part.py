import pytest
import torch

from detaux.config.schema import ModelConfig
from detaux.disentangle.label_part import HIGHEST, LabelPart, count_label_dims
from detaux.disentangle.model import Disentangler


@pytest.mark.parametrize(("classes", "latent", "expected"), [(2, 16, 1), (4, 16, 3), (26, 16, 8), (2, 2, 1), (1, 8, 1)])
def test_label_dims_hold_all_differences_of_classes_in_at_most_half_the_code(classes, latent, expected):
    assert count_label_dims(classes, latent) == expected


@pytest.fixture
def part():
    torch.manual_seed(0)
    return LabelPart(classes=3, latent=6).double()


def test_codes_of_classes_have_mean_0_and_variance_1(part):
    codes = part.standardize()
    assert codes.shape == (3, 2)
    torch.testing.assert_close(codes.mean(0), torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(codes.square().mean(0), torch.ones(2, dtype=torch.float64))


def test_decoder_gets_the_code_of_the_class_and_of_an_unknown_label_the_guess(part):
    latents = torch.randn(4, 6, dtype=torch.float64)
    labels = torch.tensor([2, -1, 0, 2])
    codes, means, error = part.condition(latents, labels, torch.zeros(4, 4, dtype=torch.float64))
    table = part.standardize()
    for row, label in enumerate(labels.tolist()):
        torch.testing.assert_close(codes[row, :2], latents[row, :2] if label < 0 else table[label])
    torch.testing.assert_close(codes[:, 2:], latents[:, 2:])
    torch.testing.assert_close(means, latents[:, 2:])
    known = [0, 2, 3]
    expected = sum((latents[row, :2] - table[labels[row]]).square().sum().item() for row in known) / 4
    assert error.item() == pytest.approx(expected)


def test_noise_has_the_learnt_variance_and_a_variance_without_bounds_is_cut(part):
    part.log_variance_F.data[:] = torch.tensor([0.0, 2.0, -1.0, 99.0])
    zeros = torch.zeros(1, 6, dtype=torch.float64)
    codes, _, _ = part.condition(zeros, torch.tensor([0]), torch.ones(1, 4, dtype=torch.float64))
    torch.testing.assert_close(codes[0, 2:].log() * 2, torch.tensor([0.0, 2.0, -1.0, HIGHEST], dtype=torch.float64))


def test_only_known_labels_teach_the_guess_and_reconstruction_teaches_the_codes(part):
    latents = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    codes, _, error = part.condition(latents, torch.tensor([1, -1]), torch.zeros(2, 4, dtype=torch.float64))
    codes.sum().backward(retain_graph=True)
    assert (latents.grad[:, :2] == 0).all()
    assert (latents.grad[:, 2:] == 1).all()
    latents.grad = None
    error.backward(retain_graph=True)
    assert (latents.grad[0, :2] != 0).all()
    assert (latents.grad[1] == 0).all()
    part.codes_CL.grad = None
    error.backward()
    assert part.codes_CL.grad is None  # the codes follow only the reconstruction


def test_free_part_of_a_code_is_what_the_label_does_not_say():
    latents = torch.arange(12.0).reshape(2, 6)
    conditional = Disentangler(ModelConfig(latent=6, subspaces=2, conditional=True), side=16, classes=3)
    assert torch.equal(conditional.select_free(latents), latents[:, 2:])
    plain = Disentangler(ModelConfig(latent=6, subspaces=2), side=16)
    assert torch.equal(plain.select_free(latents), latents)
