import pytest
import torch

from detaux.losses.principal_contrast import count_pairs, principal_contrast_loss


def test_principal_contrast_matches_hand_value():
    """Points 0, 1, 3 with labels 0, 0, 1: one pull of 1; pushes (2.5 - 3)+ and (2.5 - 2) over two pairs."""
    principal = torch.tensor([[0.0], [1.0], [3.0]])
    loss = principal_contrast_loss(principal, torch.tensor([0, 0, 1]), 2.5)
    assert loss.item() == pytest.approx(1 + (0 + 0.5**2) / 2)


def test_principal_contrast_matches_loop_version(loops, draw):
    principal, labels = draw(41, 63), torch.arange(41) % 4
    expected = loops.compute_principal_contrast(principal.tolist(), labels.tolist(), 12.0)
    assert principal_contrast_loss(principal, labels, 12.0).item() == pytest.approx(expected, rel=1e-10)


def test_principal_contrast_gradient_matches_finite_differences(draw):
    labels = torch.tensor([0, 0, 1, 1, 2])
    principal = draw(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: principal_contrast_loss(values, labels, 2.0), (principal,))


def test_principal_contrast_is_zero_where_labels_are_points_a_margin_apart():
    principal = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = principal_contrast_loss(principal, torch.tensor([4, 4, 7]), 1.0)
    loss.backward()
    assert loss == 0
    assert torch.equal(principal.grad, torch.zeros(3, 2))


def test_principal_contrast_gradient_of_coinciding_images_is_zero_not_nan():
    principal = torch.zeros(4, 3, requires_grad=True)
    loss = principal_contrast_loss(principal, torch.tensor([0, 0, 1, 1]), 2.0)
    loss.backward()
    assert loss == 4
    assert torch.equal(principal.grad, torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 0], 1.0), ([0, 1], (3.0 - 1.0) ** 2)],
    ids=["one label", "no label twice"],
)
def test_principal_contrast_without_a_kind_of_pair_has_the_other_part_alone(labels, expected):
    loss = principal_contrast_loss(torch.tensor([[0.0], [1.0]]), torch.tensor(labels), 3.0)
    assert loss.item() == expected


def test_principal_contrast_of_one_image_is_zero():
    assert principal_contrast_loss(torch.ones(1, 3), torch.tensor([0]), 1.0) == 0


def test_principal_contrast_ignores_the_order_of_images_and_the_names_of_labels(draw):
    principal, labels = draw(12, 4), torch.arange(12) % 3
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    loss = principal_contrast_loss(principal, labels, 3.0)
    torch.testing.assert_close(principal_contrast_loss(principal[order], 9 - labels[order], 3.0), loss)


def test_principal_contrast_ignores_strides_and_computes_in_float32(draw, check_inputs):
    labels = torch.arange(41) % 4
    check_inputs(lambda values: principal_contrast_loss(values, labels, 12.0), draw(41, 63))


def test_images_without_a_label_are_in_no_pair(draw):
    principal, labels = draw(20, 5), torch.tensor([0, 1, -1, 2]).repeat(5)
    known = labels >= 0
    expected = principal_contrast_loss(principal[known], labels[known], 3.0)
    torch.testing.assert_close(principal_contrast_loss(principal, labels, 3.0), expected, rtol=0, atol=1e-12)
    values = principal.requires_grad_()
    principal_contrast_loss(values, labels, 3.0).backward()
    assert torch.equal(values.grad.abs().sum(1) > 0, known)


@pytest.mark.parametrize("labels", [[3, -1, 0, 3, 3, -1, 0, 7], [-1, -1], [5]])
def test_pairs_are_counted_as_by_a_loop(labels):
    pairs = [(a, b) for place, a in enumerate(labels) for b in labels[place + 1 :] if min(a, b) >= 0]
    same, different = count_pairs(torch.tensor(labels))
    assert (int(same), int(different)) == (sum(a == b for a, b in pairs), sum(a != b for a, b in pairs))
