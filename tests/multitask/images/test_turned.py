import torch

from detaux.multitask.images.turned import turn_images


def test_turned_images_match_their_label():
    images = torch.rand(6, 3, 8, 8)
    turns = torch.arange(6) % 4
    for image, result, turn in zip(images, turn_images(images, turns), turns.tolist(), strict=True):
        assert torch.equal(torch.rot90(image, turn, (1, 2)), result)
