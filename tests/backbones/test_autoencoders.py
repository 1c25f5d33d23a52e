import pytest
import torch

from detaux.backbones.autoencoders import ARCHITECTURES, FlattenMap, UnflattenMap


@pytest.mark.parametrize(
    ("name", "side"),
    [("patch_conv", side) for side in (8, 28, 32, 64, 100)]
    + [("simple_conv", side) for side in (8, 28, 32, 64, 100)]
    + [("resnet18", side) for side in (32, 64, 96)],
)
def test_autoencoder_shapes_match_side_and_latent(name, side):
    encoder, decoder = ARCHITECTURES[name](side, 10)
    latents = encoder(torch.rand(2, 3, side, side))
    assert latents.shape == (2, 10)
    assert decoder(latents).shape == (2, 3, side, side)


@pytest.mark.parametrize(("side", "positions"), [(32, 1), (64, 4), (100, 16)])
def test_resnet18_map_gives_a_code_for_every_position(side, positions):
    encoder, decoder = ARCHITECTURES["resnet18_map"](side, 6)
    latents = encoder(torch.rand(2, 3, side, side))
    assert latents.shape == (2, 6 * positions)
    assert decoder(latents).shape == (2, 3, side, side)


def test_a_map_comes_back_from_its_code():
    maps = torch.rand(2, 6, 3, 3)
    codes = FlattenMap()(maps)
    torch.testing.assert_close(codes[1, 6 * 5 : 6 * 6], maps[1, :, 1, 2])  # position 5 of 3 x 3
    torch.testing.assert_close(UnflattenMap(3)(codes), maps)


def test_simple_conv_at_64_has_the_released_layers():
    encoder, decoder = ARCHITECTURES["simple_conv"](64, 10)
    convolutions = [layer.weight.shape[0] for layer in encoder if isinstance(layer, torch.nn.Conv2d)]
    upward = [layer.weight.shape[1] for layer in decoder if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert convolutions == [32, 32, 64, 64]
    assert upward == [64, 32, 32, 3]
    parameters = sum(weight.numel() for net in (encoder, decoder) for weight in net.parameters())
    assert parameters == 829_517


def test_a_side_that_does_not_fit_is_padded_not_distorted():
    encoder, _ = ARCHITECTURES["simple_conv"](28, 4)
    images = torch.rand(2, 3, 28, 28)
    padded = torch.zeros(2, 3, 32, 32)
    padded[..., :28, :28] = images
    torch.testing.assert_close(encoder(images), encoder[1:](padded))
