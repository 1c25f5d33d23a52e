import pytest
import torch

from detaux.data.label_index import LabelIndex


@pytest.mark.parametrize("seed", range(20))
def test_partners_by_label_are_those_of_the_definition(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 1 + seed % 4, (1 + seed,), generator=generator)
    anchors = torch.randint(len(labels), (9,), generator=generator)
    wants = torch.rand(9, generator=generator) < 0.5
    index = LabelIndex.build(labels)
    allowed = index.allow(anchors, wants)
    drawn = [index.draw(anchors, wants, generator).tolist() for _ in range(40)]
    for place, (anchor, wants_different) in enumerate(zip(anchors.tolist(), wants.tolist(), strict=True)):
        own = int(labels[anchor])
        known = [one for one, label in enumerate(labels.tolist()) if own >= 0 and label >= 0]
        differs = [one for one in known if labels[one] != own]
        same = [one for one in known if labels[one] == own and one != anchor]
        expected = (differs or same) if wants_different else (same or differs)
        assert allowed[place].nonzero().flatten().tolist() == expected
        assert {row[place] for row in drawn} <= set(expected or [-1])


def test_partners_by_label_are_drawn_uniformly():
    labels = torch.tensor([2, 0, 0, -1, 0, 2, 1, 0])
    index = LabelIndex.build(labels)
    generator = torch.Generator().manual_seed(0)
    anchors = torch.full((6000,), 2)
    for wants, allowed in ((False, [1, 4, 7]), (True, [0, 5, 6])):
        counts = index.draw(anchors, torch.full((6000,), wants), generator).bincount(minlength=8)
        assert counts[allowed].sum() == 6000
        assert (counts[allowed] - 2000).abs().max() < 150  # four standard deviations
