import numpy as np
import torch

from detaux.config import Config
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.registry import propose_candidates
from detaux.discover.embed import Embeddings


def test_encoder_source_has_the_latents_as_its_candidate():
    subspaces_NKD = torch.randn(200, 3, 2, generator=torch.Generator().manual_seed(0))
    embedded = EmbeddedSplit(Embeddings(subspaces_NKD, subspaces_NKD.sum(1)), 0, np.zeros(200, int))
    (found,) = propose_candidates(embedded, Config(discover=DiscoverConfig(source="encoder")))
    np.testing.assert_array_equal(found.points_ND, embedded.embeddings.latents_ND)
    assert (found.subspaces, found.title) == ((), "encoder")
