import torch

from detaux.multitask.images.turned import draw_turned


def test_turns_of_parts_are_those_of_the_whole_batch():
    images = torch.rand(9, 3, 8, 8)
    turned, turns = draw_turned(images, 9, slice(None), torch.Generator().manual_seed(0))
    for part in (slice(0, 5), slice(5, 9), slice(9, 9)):
        found, labels = draw_turned(images[part], 9, part, torch.Generator().manual_seed(0))
        assert torch.equal(found, turned[part])
        assert torch.equal(labels, turns[part])
    for image, result, turn in zip(images, turned, turns.tolist(), strict=True):
        assert torch.equal(torch.rot90(image, turn, (1, 2)), result)
