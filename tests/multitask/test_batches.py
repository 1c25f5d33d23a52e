import dataclasses

import pytest
import torch

from detaux.data.prepare import BATCH_BYTES
from detaux.data.recombined import RecombinedImages
from detaux.multitask import batches
from detaux.multitask.batches import Stream, TrainingData, iterate_evaluation, iterate_passes, iterate_stream
from detaux.multitask.images.augmentation import Augmentation


def test_batches_cover_every_index_each_pass_in_another_order():
    batches = iterate_passes(torch.arange(10), 4, torch.Generator().manual_seed(0))
    first, second = (torch.cat([next(batches) for _ in range(3)]).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


@pytest.mark.parametrize(("count", "sizes"), [(9, [4, 3, 2]), (10, [4, 4, 2]), (8, [4, 4]), (1, [1]), (3, [3])])
def test_no_batch_has_a_single_image_unless_there_is_only_one(count, sizes):
    batches = iterate_passes(torch.arange(count), 4, torch.Generator().manual_seed(0))
    first = [next(batches) for _ in sizes]
    assert [len(batch) for batch in first] == sizes
    assert sorted(torch.cat(first).tolist()) == list(range(count))


def build_data(auxiliary):
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 4, 4, 3).contiguous()
    return TrainingData(images, torch.arange(10) % 2, auxiliary, [2, 5], noise=0.0)


def test_stream_gives_each_image_the_labels_of_its_tasks():
    data = build_data(torch.arange(10) % 5)
    stream = iterate_stream(data, Stream((0, 1), torch.tensor([2, 3, 4, 8, 9])), 3, 0)
    first, second = next(stream), next(stream)
    numbers = torch.cat([first.images, second.images])[:, 0, 0, 0].mul(255).round().long()
    assert sorted(numbers.tolist()) == [2, 3, 4, 8, 9]
    assert torch.equal(torch.cat([first.labels[0], second.labels[0]]), numbers % 2)
    assert torch.equal(torch.cat([first.labels[1], second.labels[1]]), numbers % 5)
    assert (first.mean_size, second.mean_size) == (3, 2)


def test_auxiliary_task_without_labels_is_the_turns_of_the_images():
    data = build_data(None)
    data.images[:, 0] = 255  # the first row, which turns move
    batch = next(iterate_stream(data, Stream((1,), data.everything), 10, 0))
    assert batch.labels[1].unique().tolist() == [0, 1, 2, 3]
    for image, turn in zip(batch.images, batch.labels[1].tolist(), strict=True):
        assert image.rot90(-turn, (1, 2))[:, 0].eq(1).all()


def test_large_images_are_evaluated_in_batches_that_fit(largest_floats):
    images = torch.zeros(300, 96, 96, 3, dtype=torch.uint8)
    with largest_floats:
        batches = list(iterate_evaluation(images, torch.arange(300), 0.1))
    assert torch.equal(torch.cat([targets for _, _, targets in batches]), torch.arange(300))
    assert largest_floats.bytes <= BATCH_BYTES < 4 * images.numel()


def test_turns_share_no_stream_with_another_task():
    data = build_data(None)
    with pytest.raises(ValueError, match="needs a stream of its own"):
        next(iterate_stream(data, Stream((0, 1), data.everything), 4, seed=0))


def build_mixed(auxiliary):
    data = build_data(auxiliary)
    return dataclasses.replace(data, augmentation=Augmentation(mixup=1.0))


def test_mixed_images_have_the_labels_of_both_by_the_same_weight(monkeypatch):
    monkeypatch.setattr(batches, "draw_mix", lambda size, *_: (torch.arange(size).roll(1), 0.75))
    plain = next(iterate_stream(build_data(torch.arange(10) % 5), Stream((0, 1), torch.arange(10)), 10, 3))
    mixed = next(iterate_stream(build_mixed(torch.arange(10) % 5), Stream((0, 1), torch.arange(10)), 10, 3))
    torch.testing.assert_close(mixed.images, 0.75 * plain.images + 0.25 * plain.images.roll(1, 0))
    for task, classes in ((0, 2), (1, 5)):
        labels = torch.eye(classes)[plain.labels[task]]
        torch.testing.assert_close(mixed.labels[task], 0.75 * labels + 0.25 * labels.roll(1, 0))


@pytest.mark.parametrize("auxiliary", [None, torch.arange(10) % 5], ids=["turns", "labels"])
def test_parts_of_a_mixed_batch_are_those_of_the_whole(auxiliary, monkeypatch):
    data, stream = build_mixed(auxiliary), Stream((1,), torch.arange(10))
    whole = next(iterate_stream(data, stream, 10, 3))
    parts = []
    for part in (slice(0, 5), slice(5, 10)):
        monkeypatch.setattr(batches, "take_part", lambda _, part=part: part)
        parts.append(next(iterate_stream(data, stream, 10, 3)))
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.labels[1] for part in parts]), whole.labels[1])


@pytest.fixture
def recombining():
    """Ten images of which each is its number, and twenty recombined ones: number 100 + m, class 1, code of image m // 2."""
    made = torch.arange(100, 120, dtype=torch.uint8)[:, None, None, None].expand(20, 4, 4, 3).contiguous()
    recombined = RecombinedImages(made, torch.ones(20, dtype=torch.long), torch.arange(20) // 2, 0.5)
    return dataclasses.replace(build_data(torch.arange(10) % 5), recombined=recombined)


def read_numbers(batch):
    return batch.images[:, 0, 0, 0].mul(255).round().long()


def test_recombined_images_take_their_share_with_labels_of_their_own(recombining):
    stream = iterate_stream(recombining, Stream((0, 1), torch.arange(10)), 6, 0)
    for _ in range(6):
        batch = next(stream)
        numbers = read_numbers(batch)
        is_made = numbers >= 100
        assert is_made.sum() == round(0.5 * len(numbers))
        assert torch.equal(batch.labels[0], torch.where(is_made, 1, numbers % 2))
        donors = torch.where(is_made, (numbers - 100) // 2, numbers)
        assert torch.equal(batch.labels[1], donors % 5)
    assert torch.equal(recombining.images[:, 0, 0, 0], torch.arange(10, dtype=torch.uint8))  # the split stays as it is


@pytest.mark.parametrize(
    "stream", [Stream((1,), torch.arange(10)), Stream((0,), torch.arange(10), is_recombined=False)]
)
def test_streams_without_principal_labels_or_for_teaching_a_loss_have_no_recombined_images(recombining, stream):
    assert (read_numbers(next(iterate_stream(recombining, stream, 10, 0))) < 100).all()


def test_without_a_share_batches_are_as_they_were(recombining):
    """No random number is drawn for recombined images that nobody asked for."""
    nothing = dataclasses.replace(recombining, recombined=None)
    no_share = dataclasses.replace(recombining, recombined=dataclasses.replace(recombining.recombined, share=0.0))
    first, second = (next(iterate_stream(data, Stream((0,), torch.arange(10)), 4, 0)) for data in (nothing, no_share))
    assert torch.equal(first.images, second.images)
