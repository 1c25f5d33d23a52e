import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from detaux.losses import tiles
from detaux.losses.neighbour_contrast import neighbour_contrast_loss
from detaux.losses.oracle import compute_normalizer
from detaux.losses.principal_contrast import principal_contrast_loss

CHAINS, IMAGES, LATENT, MARGIN = 9, 23, 5, 2.0  # no number of rows divides IMAGES
LABELS = torch.arange(IMAGES) % 4 - 1
IS_NEAR = torch.arange(IMAGES - CHAINS) % 3 > 0


def compute_plain_normalizer(vectors_ND):
    return torch.cdist(vectors_ND, vectors_ND).mean() + 1e-8


def compute_plain_principal(vectors_ND):
    first, second = torch.triu_indices(IMAGES, IMAGES, 1)
    distance = torch.cdist(vectors_ND, vectors_ND)[first, second]
    known = (LABELS[first] >= 0) & (LABELS[second] >= 0)
    same, different = known & (LABELS[first] == LABELS[second]), known & (LABELS[first] != LABELS[second])
    return distance[same].square().mean() + (MARGIN - distance[different]).relu().square().mean()


def compute_plain_neighbours(vectors_ND):
    score = -torch.log1p(torch.cdist(vectors_ND, vectors_ND).square())
    total = score.masked_fill(torch.eye(IMAGES, dtype=torch.bool), -torch.inf).logsumexp(1)
    pair = torch.arange(IMAGES - CHAINS)
    return ((total[:-CHAINS] + total[CHAINS:]) / 2 - score[pair, pair + CHAINS])[IS_NEAR].mean()


# what compares all rows with all columns -> (function of [N, D], the same from one plain matrix of distances)
TERMS = {
    "mean_distance": (
        lambda vectors: compute_normalizer(vectors[:, None], "mean_distance").sum(),
        compute_plain_normalizer,
    ),
    "principal_contrast": (
        lambda vectors: principal_contrast_loss(vectors, LABELS, MARGIN),
        compute_plain_principal,
    ),
    "neighbour_contrast": (
        lambda vectors: neighbour_contrast_loss(vectors, CHAINS, IS_NEAR),
        compute_plain_neighbours,
    ),
}


def differentiate(function, vectors_ND):
    vectors_ND = vectors_ND.detach().requires_grad_()
    value = function(vectors_ND)
    return value.detach(), torch.autograd.grad(value, vectors_ND)[0]


@pytest.mark.parametrize("rows", [1, 4, IMAGES - 1, IMAGES])
@pytest.mark.parametrize("name", TERMS)
def test_term_in_tiles_equals_one_plain_matrix_of_distances(monkeypatch, draw, name, rows):
    monkeypatch.setattr(tiles, "TILE", rows * IMAGES * LATENT)
    term, plain = TERMS[name]
    vectors_ND = draw(IMAGES, LATENT)
    torch.testing.assert_close(
        differentiate(term, vectors_ND), differentiate(plain, vectors_ND), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("name", TERMS)
def test_gradient_of_a_term_in_tiles_matches_finite_differences(monkeypatch, draw, name):
    monkeypatch.setattr(tiles, "TILE", 7 * IMAGES * LATENT)
    assert torch.autograd.gradcheck(TERMS[name][0], (draw(IMAGES, LATENT).requires_grad_(),))


@pytest.mark.parametrize("name", TERMS)
def test_coinciding_vectors_in_different_tiles_have_no_gradient_between_them(monkeypatch, name):
    monkeypatch.setattr(tiles, "TILE", 3 * IMAGES * LATENT)
    _, gradient = differentiate(TERMS[name][0], torch.ones(IMAGES, LATENT))
    assert torch.equal(gradient, torch.zeros(IMAGES, LATENT))


class Sizes(TorchDispatchMode):
    """Writes down the largest tensor that is made, and the values that a GPU makes in each backward of a cdist."""

    def __init__(self):
        super().__init__()
        self.largest, self.differences = 0, []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        made = [one.numel() for one in tree_leaves(found) if isinstance(one, torch.Tensor)]
        self.largest = max([self.largest, *made])
        if function is torch.ops.aten._cdist_backward.default:
            _, rows, columns, _, distances = arguments
            assert distances.shape[-2:] == (rows.shape[-2], columns.shape[-2])
            self.differences.append(distances.numel() * rows.shape[-1])
        return found


@pytest.mark.parametrize("name", TERMS)
def test_no_tensor_outgrows_a_tile_and_none_of_a_tile_is_kept(monkeypatch, draw, name):
    """The twin of test_mean_distance_of_a_large_batch_on_a_gpu_matches_rows_in_float64."""
    images, latent = 2048, 8
    monkeypatch.setattr(tiles, "TILE", images * images * latent // 8)
    monkeypatch.setitem(globals(), "LABELS", torch.arange(images) % 4 - 1)
    monkeypatch.setitem(globals(), "CHAINS", images // 2)
    monkeypatch.setitem(globals(), "IS_NEAR", torch.ones(images // 2, dtype=torch.bool))
    kept = []

    def keep(values):
        kept.append(values.numel())
        return values

    with Sizes() as sizes, torch.autograd.graph.saved_tensors_hooks(keep, lambda values: values):
        differentiate(TERMS[name][0], draw(images, latent).float())
    assert sizes.differences == [tiles.TILE] * 16  # eight tiles, as rows and as columns
    assert sizes.largest <= tiles.TILE / latent
    assert sum(kept) < tiles.TILE / latent  # for the backward, over all tiles


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_mean_distance_of_a_large_batch_on_a_gpu_matches_rows_in_float64():
    """8,192 images of 10 subspaces have 10^10 differences, more than an int32 counts."""
    images, subspaces, latent = 8192, 10, 16
    random = torch.Generator("cuda").manual_seed(0)
    vectors_NKD = torch.randn(images, subspaces, latent, device="cuda", generator=random).requires_grad_()
    compute_normalizer(vectors_NKD, "mean_distance").sum().backward()
    exact_NKD = vectors_NKD.detach().double()
    for row in (0, images // 2, images - 1):
        away_NKD = exact_NKD[row] - exact_NKD
        expected_KD = (away_NKD / away_NKD.norm(dim=2, keepdim=True).clamp_min(1e-300)).sum(0) * 2 / images**2
        torch.testing.assert_close(vectors_NKD.grad[row].double(), expected_KD, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(("tile", "rows"), [(100, [5, 5, 1]), (7, [1] * 11), (220, [11]), (2**28, [11])])
def test_parts_cover_the_rows_in_order_and_fit_a_tile(monkeypatch, tile, rows):
    monkeypatch.setattr(tiles, "TILE", tile)
    numbers, doubled = torch.arange(11), 2 * torch.arange(11)
    parts = tiles.tile_rows(lambda *both: torch.stack(both), numbers, doubled, row_values=20)
    assert [part.shape[1] for part in parts] == rows
    assert torch.equal(torch.cat(parts, 1), torch.stack([numbers, doubled]))


def test_tile_stays_below_the_addresses_of_cdist_on_a_gpu():
    assert tiles.TILE < 2**31


@pytest.mark.parametrize("name", TERMS)
def test_term_in_tiles_is_compiled_whole(monkeypatch, draw, name):
    monkeypatch.setattr(tiles, "TILE", 9 * IMAGES * LATENT)
    torch._dynamo.reset()
    term, vectors_ND = TERMS[name][0], draw(IMAGES, LATENT)
    compiled = torch.compile(term, fullgraph=True, backend="eager")
    torch.testing.assert_close(differentiate(compiled, vectors_ND), differentiate(term, vectors_ND))
