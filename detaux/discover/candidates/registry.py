"""Find the kinds of candidates by name. The name of a kind is the name of its file.

A kind is a function that makes candidates. To add one, write its file and enter it here: in FROM_MODEL if it needs the
embeddings by a disentangler, in FROM_IMAGES if it needs none, in BASELINES if it serves only for comparison.
`discover.sources` selects the kinds of the first two.
"""

from collections.abc import Callable

from detaux.config import Config
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.encoder import propose_encoder
from detaux.discover.candidates.features import propose_features
from detaux.discover.candidates.files import propose_files
from detaux.discover.candidates.graph import propose_graph
from detaux.discover.candidates.kmeans_latents import propose_kmeans_latents
from detaux.discover.candidates.latents import propose_latents
from detaux.discover.candidates.latents_within_class import propose_latents_within_class
from detaux.discover.candidates.layout import propose_layout
from detaux.discover.candidates.mixture import propose_mixtures
from detaux.discover.candidates.statistics import propose_statistics
from detaux.discover.candidates.subspace import propose_subspaces

FROM_SUBSPACES = ("subspace", "mixture")  # sources that differ between disentanglers
Propose = Callable[[EmbeddedSplit, Config], list[Candidate]]
FROM_MODEL: dict[str, Propose] = {
    "subspace": propose_subspaces,
    "mixture": propose_mixtures,
    "encoder": propose_encoder,
}
FROM_IMAGES: dict[str, Callable[[Split, Manifest, Config], list[Candidate]]] = {
    "graph": propose_graph,
    "layout": propose_layout,
    "features": propose_features,
    "statistics": propose_statistics,
    "files": propose_files,
}
BASELINES: dict[str, Propose] = {
    "latents": propose_latents,
    "latents_within_class": propose_latents_within_class,
    "kmeans_latents": propose_kmeans_latents,
}


def propose_from_model(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Make the candidates that `discover.sources` asks for from the embeddings by one disentangler."""
    found = []
    for source, propose in FROM_MODEL.items():
        if source in config.discover.sources:
            for one in propose(embedded, config):
                one.source, one.restart = source, embedded.restart
                found.append(one)
    return found


def propose_from_images(split: Split, manifest: Manifest, config: Config) -> list[Candidate]:
    """Make the candidates that `discover.sources` asks for and that need no disentangler."""
    found = []
    for source, propose in FROM_IMAGES.items():
        if source in config.discover.sources:
            for one in propose(split, manifest, config):
                one.source, one.restart = source, None
                found.append(one)
    return found


def propose_baselines(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Make the plain baselines, in the order of BASELINES."""
    return [one for propose in BASELINES.values() for one in propose(embedded, config)]
