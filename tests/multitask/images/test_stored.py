import pytest
import torch

from detaux.multitask.images.augmentation import Augmentation
from detaux.multitask.images.stored import prepare

IMAGES = torch.randint(256, (9, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("keys", [{}, {"crop": 2}, {"flip": True}, {"crop": 1, "flip": True}, {"colour": 0.5}], ids=str)
def test_parts_of_a_batch_are_prepared_as_the_whole(keys):
    whole = prepare(IMAGES, 0.2, torch.Generator().manual_seed(1), augmentation=Augmentation(**keys))
    for part in (slice(0, 5), slice(5, 9), slice(9, 9)):
        assert torch.equal(
            prepare(IMAGES, 0.2, torch.Generator().manual_seed(1), part, Augmentation(**keys)), whole[part]
        )


def test_images_that_do_not_move_draw_the_noise_and_nothing_else():
    generator = torch.Generator().manual_seed(1)
    prepare(IMAGES, 0.2, generator)
    expected = torch.Generator().manual_seed(1)
    torch.rand(9, 8, 8, generator=expected)
    assert torch.equal(generator.get_state(), expected.get_state())


def test_moved_images_change_from_batch_to_batch_and_keep_their_colours():
    generator = torch.Generator().manual_seed(1)
    first, second = (prepare(IMAGES, 0.0, generator, augmentation=Augmentation(flip=True)) for _ in range(2))
    plain = prepare(IMAGES, 0.0, generator)
    assert not torch.equal(first, second)
    for image, original in zip(first, plain, strict=True):
        assert torch.equal(image, original) or torch.equal(image, original.flip(2))
