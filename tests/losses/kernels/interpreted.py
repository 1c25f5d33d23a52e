"""The kernels on Triton's interpreter, which runs them on CPU tensors; test_pair_measures.py starts this file in a process
of its own with TRITON_INTERPRET=1. Uninitialised memory is NaN throughout, so that what nobody wrote is seen."""

import dataclasses

import pytest
import torch
from torch import distributed, multiprocessing
from torch._subclasses import FakeTensor

from detaux.config.schema import LossesConfig, ModelConfig, OracleConfig, PairsConfig
from detaux.disentangle.mixes import draw_mixes
from detaux.disentangle.model import Disentangler
from detaux.disentangle.objective import compute_objective
from detaux.losses import pair_measures as reference
from detaux.losses.kernels import pair_distances, pair_measures

NORMALIZERS = ["mean_norm", "rms_distance", "mean_distance"]
FIELDS = [field.name for field in dataclasses.fields(reference.PairMeasures)]
# chains, links, subspaces, latent
SHAPES = [(5, 1, 3, 7), (6, 2, 3, 18), (1, 3, 2, 16), (16, 1, 3, 1)]
WIDE = (3, 1, 10, 130)  # more features than a tile holds
LARGE = (5, 3, 10, 63)
LAYOUTS = {
    "contiguous": lambda values_NKD: values_NKD.clone(),
    "transposed": lambda values_NKD: values_NKD.transpose(0, 1).contiguous().transpose(0, 1),  # as StackedProjectors
    "strided": lambda values_NKD: values_NKD.repeat_interleave(2, -1)[..., ::2],
}


@pytest.fixture(autouse=True)
def _poison():
    torch.use_deterministic_algorithms(True)  # fills uninitialised memory with NaN
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def draw_images(draw):
    """draw_images(chains, links, subspaces, latent): float64 projections [N, K, D]."""
    return lambda chains, links, subspaces, latent: draw(chains * (links + 1), subspaces, latent)


def differentiate(backend, values, chains, normalizer, upstream):
    """A backend's measures and the gradient to `values` for the `upstream` gradients of the fields it names."""
    values = values.detach().requires_grad_()
    measures = backend.measure_pairs(values, chains, normalizer)
    total = sum((getattr(measures, name) * weights.to(values.device)).sum() for name, weights in upstream.items())
    (gradient,) = torch.autograd.grad(total, values)
    return measures, gradient


def check_backend(values, chains, normalizer, fields=FIELDS, *, tolerance=1e-5):
    """Compare with the reference in float64: the fields, and the gradient for random upstream gradients of `fields`.

    Tolerances are relative to the largest element. Returns the gradient.
    """
    exact = values.double()
    generator = torch.Generator().manual_seed(1)
    measures = reference.measure_pairs(exact, chains, normalizer)
    upstream = {
        name: torch.randn(getattr(measures, name).shape, generator=generator, dtype=torch.float64) for name in fields
    }
    expected, expected_gradient = differentiate(reference, exact, chains, normalizer, upstream)
    found, gradient = differentiate(pair_measures, values, chains, normalizer, upstream)
    for name in FIELDS:
        assert getattr(found, name).dtype == torch.promote_types(values.dtype, torch.float32), name
        check_close(getattr(found, name), getattr(expected, name), min(tolerance, 1e-5))
    assert gradient.dtype == values.dtype
    check_close(gradient, expected_gradient, tolerance)
    return gradient


def check_close(found, expected, tolerance):
    scale = expected.abs().max().clamp_min(1e-30).item() if expected.numel() else 1.0
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("normalizer", "shape"),
    [
        *((normalizer, shape) for normalizer in NORMALIZERS for shape in SHAPES),
        ("mean_norm", WIDE),
        ("rms_distance", WIDE),
        pytest.param("mean_distance", WIDE, marks=pytest.mark.slow),
        *(pytest.param(normalizer, LARGE, marks=pytest.mark.slow) for normalizer in NORMALIZERS),
    ],
    ids=str,
)
def test_measures_and_gradients_match_the_reference(draw_images, normalizer, shape):
    values = LAYOUTS["transposed"](draw_images(*shape).float())
    gradient = check_backend(values, shape[0], normalizer)
    assert gradient.shape == values.shape


@pytest.mark.parametrize(
    ("dtype", "tolerance", "layout"),
    [
        (torch.float32, 1e-5, "strided"),
        (torch.float64, 1e-13, "contiguous"),
        (torch.bfloat16, 2**-6, "transposed"),
        pytest.param(torch.float64, 1e-13, "strided", marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, 2**-6, "strided", marks=pytest.mark.slow),
        pytest.param(torch.bfloat16, 2**-6, "contiguous", marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_every_float_type_and_layout_matches_the_reference(draw_images, normalizer, dtype, tolerance, layout):
    values = LAYOUTS[layout](draw_images(5, 2, 3, 20).to(dtype))
    assert values.is_contiguous() == (layout == "contiguous")
    check_backend(values, 5, normalizer, tolerance=tolerance)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_gradient_of_each_measure_alone_matches_the_reference(draw_images, normalizer, field):
    check_backend(draw_images(4, 2, 3, 9).float(), 4, normalizer, [field])


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_walks_of_several_tiles_and_partial_sums_match_the_reference(monkeypatch, draw_images, normalizer):
    monkeypatch.setattr(pair_measures, "TILE", 64)
    monkeypatch.setattr(pair_measures, "PROGRAMS", 6)
    monkeypatch.setattr(pair_distances, "BLOCK", 8)
    monkeypatch.setattr(pair_distances, "PROGRAMS", 12)  # three blocks of images and three subspaces: two splits
    monkeypatch.setattr(pair_distances, "WEIGHTS", 1)
    blocks = pair_measures.choose_tiling(7, 3, 17)
    assert min(blocks.tiles, blocks.groups, blocks.splits) > 1
    check_backend(draw_images(7, 2, 3, 17).float(), 7, normalizer)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_coinciding_pairs_and_a_constant_subspace_match_the_reference(draw_images, normalizer):
    values = draw_images(4, 2, 3, 9).float()
    values[4:8] = values[:4]
    values[:, 1] = values[0, 1]
    check_backend(values, 4, normalizer)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_constant_projections_have_a_positive_normalizer_without_gradient(normalizer):
    values = torch.zeros(6, 2, 5, requires_grad=True)
    normalizer_K = pair_measures.measure_pairs(values, 3, normalizer).normalizer_K
    normalizer_K.sum().backward()
    assert (normalizer_K > 0).all()
    assert torch.equal(values.grad, torch.zeros(6, 2, 5))


def test_features_of_one_subspace_overlap_with_none_and_have_no_gradient(draw):
    values = torch.zeros(4, 3, 9)
    values[:, torch.arange(9) % 3, torch.arange(9)] = draw(4, 9).float()
    values.requires_grad_()
    overlap_N = pair_measures.measure_pairs(values, 2, "mean_norm").overlap_N
    overlap_N.sum().backward()
    assert torch.equal(overlap_N, torch.zeros(4))
    assert torch.equal(values.grad, torch.zeros(4, 3, 9))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_normalizer_in_float32_holds_for_a_small_cloud_far_from_zero(draw, normalizer):
    check_backend((10 + 1e-3 * draw(64, 1, 16)).float(), 32, normalizer, ["normalizer_K"], tolerance=1e-3)


def test_unused_measures_cost_no_nan(draw_images):
    values = draw_images(3, 1, 2, 4).float().requires_grad_()
    pair_measures.measure_pairs(values, 3, "rms_distance").squared_BK.sum().backward()
    assert values.grad.isfinite().all()


def test_images_that_are_no_whole_chains_are_refused(draw):
    with pytest.raises(ValueError, match="7 images are not 3 chains"):
        pair_measures.measure_pairs(draw(7, 2, 3), 3, "mean_norm")


def test_unknown_normalizer_is_refused(draw):
    with pytest.raises(KeyError, match="median"):
        pair_measures.measure_pairs(draw(4, 2, 3), 2, "median")


@pytest.mark.parametrize("latent", [4, 16, 130, 25088])
@pytest.mark.parametrize("subspaces", [2, 10, 256])
@pytest.mark.parametrize("chains", [1, 32, 911, 8192])
def test_blocks_cover_the_batch_and_fit_a_tile(chains, subspaces, latent):
    blocks = pair_measures.choose_tiling(chains, subspaces, latent)
    assert blocks.chains * blocks.tiles * (blocks.groups - 1) < chains <= blocks.chains * blocks.tiles * blocks.groups
    assert blocks.latent * (blocks.splits - 1) < latent <= blocks.latent * blocks.splits
    assert blocks.subspaces >= subspaces
    assert blocks.chains * blocks.subspaces * blocks.latent <= max(
        pair_measures.TILE, pair_measures.LEAST_BLOCK * blocks.subspaces
    )


OPERATORS = {
    "measure_pairs": lambda x: (pair_measures.measure, (x, 3, "rms_distance")),
    "measure_pairs_of_one_normalizer_less": lambda x: (pair_measures.measure, (x, 3, "mean_distance")),
    "measure_pairs_backward": lambda x: (
        pair_measures.measure_backward,
        (x.detach(), torch.ones(6, 2), torch.ones(9), torch.ones(9, 2), torch.ones(2, 5), 3),
    ),
    "sum_distances": lambda x: (pair_distances.sum_distances, (x, x.detach().clone())),
    "sum_distances_backward": lambda x: (
        pair_distances.sum_distances_backward,
        (torch.ones(9, 2), x.detach(), x.detach().clone()),
    ),
}


class RealLauncher:
    """Launches on real tensors only: wrap_triton does not read fake ones, the interpreter would."""

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        def launch(*arguments, **keywords):
            if not any(isinstance(argument, FakeTensor) for argument in arguments):
                self.kernel[grid](*arguments, **keywords)

        return launch


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_is_registered_as_torch_wants_it(monkeypatch, draw, name):
    """Schema, autograd and fake tensors; tracing by torch.compile is in compiled.py."""
    for module in (pair_measures, pair_distances):
        monkeypatch.setattr(module, "wrap_triton", RealLauncher)
    values = LAYOUTS["transposed"](draw(9, 2, 5).float()).requires_grad_()
    operator, arguments = OPERATORS[name](values)
    utilities = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(operator, arguments, test_utils=utilities)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_objective_and_its_gradients_are_those_of_the_reference(draw, normalizer):
    chains, links, subspaces = 3, 2, 4
    torch.manual_seed(0)
    model = Disentangler(ModelConfig(encoder="simple_conv", latent=6, subspaces=subspaces), 32)
    images = draw(chains * (links + 1), 3, 32, 32).float().sigmoid()
    labels = torch.tensor([0, 1, 0, 1, 1, 0, -1, 1, 0])
    mixes = draw_mixes(links, chains, range(chains), subspaces=subspaces, mixes=1.0, seed=(0,))
    losses = LossesConfig(oracle=OracleConfig(normalizer=normalizer))

    def compute(backend):
        model.zero_grad()
        total, parts = compute_objective(
            model,
            images,
            labels,
            chains,
            mixes,
            betas=(1.0, 1.0, 1.0),
            losses=losses,
            pairs=PairsConfig(),
            backend=backend,
        )
        total.backward()
        return parts, {name: values.grad.clone() for name, values in model.named_parameters()}

    expected_parts, expected_gradients = compute("reference")
    parts, gradients = compute("triton")
    torch.testing.assert_close(parts, expected_parts, rtol=1e-5, atol=1e-7)
    for name, gradient in gradients.items():
        check_close(gradient, expected_gradients[name].double(), 1e-4)


def compare_in_rank(rank, store):
    """What one of two ranks does: each normaliser and its gradient, by the kernels and by the reference."""
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    generator = torch.Generator().manual_seed(rank)
    values = torch.randn(8, 3, 5, generator=generator, dtype=torch.float64) + rank
    upstream = {"normalizer_K": torch.randn(3, generator=generator, dtype=torch.float64)}
    for normalizer in NORMALIZERS:
        expected, expected_gradient = differentiate(reference, values, 4, normalizer, upstream)
        found, gradient = differentiate(pair_measures, values, 4, normalizer, upstream)
        for one, other in ((found.normalizer_K, expected.normalizer_K), (gradient, expected_gradient)):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    distributed.destroy_process_group()


def test_two_ranks_have_the_measures_and_gradients_of_the_reference(tmp_path):
    """Forks, for what takes time in a rank of its own is to import."""
    ranks = [
        multiprocessing.get_context("fork").Process(target=compare_in_rank, args=(rank, tmp_path / "store"))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
        rank.kill()
    assert [rank.exitcode for rank in ranks] == [0, 0]
