"""Recombined images against what the decoder of a known model must give."""

import pytest
import torch

from detaux.config import load_config
from detaux.data.split import Split
from detaux.disentangle.model import Disentangler, save_disentangler
from detaux.errors import UserError
from detaux.recombine import pool
from detaux.recombine.pool import draw_sources, exchange_principal, recombine_images

CLASSES = 3


@pytest.fixture
def split():
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (7, 16, 16, 3), generator=random, dtype=torch.uint8)
    return Split(images, torch.tensor([0, 1, 2, 0, 1, 2, -1]), list("abcdefg"), None)


@pytest.fixture
def train(tmp_path):
    """train(conditional): the folder of an untrained model, the model, and the config."""

    def build(conditional):
        keys = [f"model.conditional={conditional}", "model.latent=6", "model.subspaces=3", "multitask.recombine=0.25"]
        config = load_config(None, [*keys, "run.seed=4"])
        torch.manual_seed(1)
        model = Disentangler(config.model, 16, CLASSES)
        (tmp_path / "checkpoint").mkdir()
        save_disentangler(model.state_dict(), 16, tmp_path / "checkpoint" / "model.safetensors")
        (tmp_path / "checkpoint" / "config.yaml").write_text(
            f"model: {{conditional: {str(conditional).lower()}, latent: 6, subspaces: 3}}"
        )
        return tmp_path, model.eval(), config

    return build


def to_bytes(images):
    return (255 * images.clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1)


@torch.no_grad()
def test_a_conditional_model_decodes_each_image_under_each_class(train, split):
    folder, model, config = train(conditional=True)
    made = recombine_images(folder, split, CLASSES, config)
    assert (made.share, len(made.labels)) == (0.25, 21)
    assert torch.equal(made.donors, torch.arange(7).repeat_interleave(3))
    assert torch.equal(made.labels, torch.arange(3).repeat(7))
    free = model.encode(split.images.permute(0, 3, 1, 2) / 255)[:, model.label_part.size :]
    codes = model.label_part.standardize()
    for number, label in ((0, 2), (6, 1)):  # the last image has no label, but a free part
        expected = to_bytes(model.decode(torch.cat([codes[label], free[number]])[None]))
        found = made.images[3 * number + label]
        assert (found.int() - expected[0].int()).abs().max() <= 1


@torch.no_grad()
def test_another_model_exchanges_the_principal_subspace_with_an_image_of_the_class(train, split):
    folder, model, config = train(conditional=False)
    made = recombine_images(folder, split, CLASSES, config)
    subspaces = model.project(model.encode(split.images.permute(0, 3, 1, 2) / 255))
    for number in range(21):
        codes = [
            exchange_principal(subspaces, model.alpha, made.donors[number : number + 1], torch.tensor([source]))
            for source in torch.nonzero(split.labels == made.labels[number]).ravel().tolist()
        ]
        expected = torch.cat([to_bytes(model.decode(code)) for code in codes]).int()
        assert ((made.images[number].int() - expected).abs().amax((1, 2, 3)) <= 1).any()


def test_if_all_are_too_many_a_part_is_drawn_the_same_each_time(train, split, monkeypatch):
    monkeypatch.setattr(pool, "MOST_BYTES", 10 * 16 * 16 * 3)
    folder, _, config = train(conditional=True)
    first, second = (recombine_images(folder, split, CLASSES, config) for _ in range(2))
    assert len(first.labels) == 10
    assert torch.equal(first.images, second.images)
    assert len({*zip(first.donors.tolist(), first.labels.tolist(), strict=True)}) == 10


def test_an_image_of_a_class_is_drawn_among_all_of_them():
    labels, wanted = torch.tensor([1, 0, 1, -1, 1]), torch.tensor([1] * 60 + [0] * 5)
    drawn = draw_sources(labels, wanted, torch.Generator().manual_seed(0))
    assert set(drawn[:60].tolist()) == {0, 2, 4}
    assert set(drawn[60:].tolist()) == {1}


def test_exchange_keeps_all_but_one_subspace():
    codes = torch.arange(12.0).reshape(2, 3, 2)
    exchanged = exchange_principal(codes, 0, torch.tensor([0, 1]), torch.tensor([1, 1]))
    torch.testing.assert_close(exchanged, torch.tensor([[6.0 + 2 + 4, 7 + 3 + 5], [6.0 + 8 + 10, 7 + 9 + 11]]))


@pytest.mark.parametrize("conditional", [True, False])
def test_a_class_without_a_labelled_image_is_left_out(train, split, conditional):
    folder, _, config = train(conditional=conditional)
    few = Split(split.images, torch.where(split.labels == 1, -1, split.labels), split.keys, None)
    made = recombine_images(folder, few, CLASSES, config)
    assert set(made.labels.tolist()) == {0, 2}
    assert torch.equal(made.donors, torch.arange(7).repeat_interleave(2))


@pytest.mark.parametrize(("side", "classes"), [(32, CLASSES), (16, CLASSES + 1)])
def test_a_model_of_other_images_or_classes_is_refused(train, side, classes):
    folder, _, config = train(conditional=True)
    other = Split(torch.zeros(4, side, side, 3, dtype=torch.uint8), torch.arange(4) % 3, list("abcd"), None)
    with pytest.raises(
        UserError, match=f"trained on images of 16 pixels with 3 classes, and the shards have {side} pixels"
    ):
        recombine_images(folder, other, classes, config)
