import torch

from detaux.multitask.images.mixed import draw_mix, mix, mix_labels


def test_partners_are_a_permutation_and_weights_have_the_moments_of_beta():
    generator = torch.Generator().manual_seed(0)
    draws = [draw_mix(7, 0.4, generator) for _ in range(3000)]
    assert all(sorted(partners.tolist()) == list(range(7)) for partners, _ in draws[:50])
    weights = torch.tensor([weight for _, weight in draws])
    assert abs(weights.mean() - 0.5) < 0.03
    assert abs(weights.var() - 0.25 / (2 * 0.4 + 1)) < 0.01  # of Beta(a, a)


def test_images_and_labels_are_mixed_as_by_hand():
    values = torch.tensor([[1.0, 0.0], [0.0, 4.0], [3.0, 2.0], [8.0, 0.0]])
    torch.testing.assert_close(mix(values, 0.75), torch.tensor([[1.5, 0.5], [2.0, 3.0]]))
    labels = mix_labels(torch.tensor([2, 0, 1, 0]), 3, 0.75)
    torch.testing.assert_close(labels, torch.tensor([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]]))


def test_no_rows_are_mixed_to_no_rows():
    assert mix(torch.empty(0, 3), 0.5).shape == (0, 3)
    assert mix_labels(torch.empty(0, dtype=torch.int64), 3, 0.5).shape == (0, 3)
