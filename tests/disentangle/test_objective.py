import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch

from detaux.backbones.autoencoders import ARCHITECTURES
from detaux.config.schema import LossesConfig, ModelConfig, PairsConfig
from detaux.disentangle.mixes import draw_mixes
from detaux.disentangle.model import Disentangler
from detaux.disentangle.objective import compute_objective

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PAIRS = 6


@pytest.fixture(scope="module")
def official():
    """The official code's step, written independently for the benchmark."""
    spec = importlib.util.spec_from_file_location("official_step", BENCHMARKS / "official_step.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_losses(**weights):
    base = LossesConfig()
    return dataclasses.replace(
        base,
        weights=dataclasses.replace(base.weights, **weights),
        distance=dataclasses.replace(base.distance, form="official"),
        sparsity=dataclasses.replace(base.sparsity, form="official"),
        regularization=dataclasses.replace(base.regularization, form="official", sharpness=1e6),
        consistency=dataclasses.replace(base.consistency, form="official", mixes=0),
        oracle=dataclasses.replace(base.oracle, form="squared", normalizer="mean_distance"),
    )


def build_model(subspaces, latent=5, side=32):
    torch.manual_seed(0)
    return Disentangler(ModelConfig(encoder="simple_conv", latent=latent, subspaces=subspaces), side).double()


def build_batch(side=32):
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2 * PAIRS, 3, side, side, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0])
    return images, labels, PAIRS


def compute(model, losses, pairs, betas=(1.0, 1.0, 1.0)):
    return compute_objective(model, *build_batch(), draw(model, losses), betas=betas, losses=losses, pairs=pairs)


def draw(model, losses):
    return draw_mixes(1, PAIRS, range(PAIRS), subspaces=model.num_subspaces, mixes=losses.consistency.mixes, seed=(2,))


@pytest.mark.parametrize(("subspaces", "consistency"), [(2, 100.0), (6, 0.0)])
def test_objective_in_official_form_matches_independent_official_loss(official, monkeypatch, subspaces, consistency):
    """With K = 2 the released 2 B mixes are all there are; with more the mixes are drawn, so that term is left out."""
    ours = build_model(subspaces)
    theirs = official.OfficialModel(*ARCHITECTURES["simple_conv"](32, 5), subspaces, 5).double()
    theirs.encoder.load_state_dict(ours.encoder.state_dict())
    theirs.decoder.load_state_dict(ours.decoder.state_dict())
    for index, projector in enumerate(theirs.projectors):
        projector[0].weight.data = ours.projectors.hidden_weight_KMH[index].T.clone()
        projector[0].bias.data = ours.projectors.hidden_bias_K1H[index, 0].clone()
        projector[2].weight.data = ours.projectors.output_weight_KHM[index].T.clone()
        projector[2].bias.data = ours.projectors.output_bias_K1M[index, 0].clone()
    weights = {**official.WEIGHTS, "consistency": consistency}
    monkeypatch.setattr(official, "WEIGHTS", weights)
    images, labels, _ = build_batch()
    is_different = labels[:PAIRS] != labels[PAIRS:]
    expected = official.compute_official_loss(theirs, images[:PAIRS], images[PAIRS:], is_different)
    expected.backward()
    total, _ = compute(ours, build_losses(**weights), PairsConfig(principal_contrast=0.0, pull=1.0))
    total.backward()
    torch.testing.assert_close(total.double(), expected, rtol=1e-6, atol=0)
    for mine, other in zip(ours.encoder.parameters(), theirs.encoder.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-7)


def test_terms_of_zero_weight_or_beta_are_not_computed():
    model = build_model(4)
    _, parts = compute(model, build_losses(consistency=0.0), PairsConfig(principal_contrast=0.0), betas=(1.0, 1.0, 0.0))
    assert set(parts) == {"reconstruction", "distance", "sparsity", "oracle_share"}
    _, parts = compute(model, build_losses(), PairsConfig(), betas=(0.0, 0.0, 0.0))
    assert set(parts) == {"reconstruction"}


def test_no_pull_leaves_free_subspaces_of_different_pairs_alone():
    model = build_model(4)
    losses = build_losses(sparsity=0.0, consistency=0.0, reconstruction=0.0, regularization=0.0)
    images, _, chains = build_batch()
    labels = torch.cat([torch.zeros(PAIRS), torch.ones(PAIRS)]).long()

    def gradient(pull):
        model.zero_grad()
        loss, _ = compute_objective(
            model,
            images,
            labels,
            chains,
            draw(model, losses),
            betas=(1.0, 0.0, 0.0),
            losses=losses,
            pairs=PairsConfig(pull=pull, principal_contrast=0.0),
        )
        loss.backward()
        return model.projectors.output_weight_KHM.grad[1:].abs().sum()

    assert gradient(0.0) == 0
    assert gradient(1.0) > 0


def test_neighbour_contrast_moves_the_last_subspace_alone():
    model = build_model(4)
    losses = build_losses(reconstruction=0.0, distance=0.0, sparsity=0.0, consistency=0.0, regularization=0.0)
    total, parts = compute(model, losses, PairsConfig(principal_contrast=0.0, neighbour_contrast=2.0))
    total.backward()
    assert total.item() == pytest.approx(2 * parts["neighbour_contrast"].item())
    moved = model.projectors.output_weight_KHM.grad.abs().sum((1, 2)) > 0
    assert moved.tolist() == [False, False, False, True]


def test_objective_is_compiled_whole_and_not_again_for_every_beta():
    """torch.compile down to its graphs, which run as they are; a curve of beta gives another number each step."""
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    model, losses, pairs = build_model(3), build_losses(), PairsConfig()
    compiled = torch.compile(compute_objective, fullgraph=True, backend=count)
    for beta in (0.1, 0.2, 0.4, 0.8, 0.9):
        settings = {"betas": (beta, beta / 2, 1 - beta), "losses": losses, "pairs": pairs}
        expected, _ = compute_objective(model, *build_batch(), draw(model, losses), **settings)
        total, _ = compiled(model, *build_batch(), draw(model, losses), **settings)
        torch.testing.assert_close(total, expected, rtol=1e-9, atol=0)
    assert 1 <= len(graphs) <= 2


def test_objective_of_a_map_trains_every_layer():
    """ResNet-18 keeps 2 x 2 positions of 3 channels at 64 pixels: D = 12."""
    torch.manual_seed(0)
    model = Disentangler(ModelConfig(encoder="resnet18_map", latent=3, subspaces=4), 64).double()
    images, labels, _ = build_batch(64)
    chains = 2
    images, labels = images[2:6], labels[2:6]  # a pair of two labels, and one of a label
    losses = build_losses(**dict.fromkeys(("distance", "sparsity", "consistency", "regularization"), 1.0))
    mixes = draw_mixes(1, chains, range(chains), subspaces=4, mixes=2, seed=(2,))
    total, parts = compute_objective(
        model, images, labels, chains, mixes, betas=(1.0, 1.0, 1.0), losses=losses, pairs=PairsConfig()
    )
    total.backward()
    assert model(images)[0].shape == (2 * chains, 4, 12)
    assert {"distance", "sparsity", "consistency", "regularization"} < parts.keys()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
