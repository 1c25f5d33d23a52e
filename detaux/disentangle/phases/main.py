"""Define the main phase, which trains all terms of the objective on pairs of images (paper, section 3.2)."""

from typing import Any

import torch
from torch import Tensor, nn

from detaux.config import Config
from detaux.config.schema import PhaseConfig
from detaux.data.pairs import PairStream, compute_one_factor_share
from detaux.data.plan import split_batch
from detaux.data.stream import SampleStream
from detaux.disentangle.edges import GraphReader
from detaux.disentangle.mixes import draw_mixes
from detaux.disentangle.model import Disentangler
from detaux.disentangle.objective import compute_objective
from detaux.disentangle.phases.base import MIX_STREAM, MicroBatch, Phase
from detaux.losses.backends import choose_backend
from detaux.losses.schedule import compute_betas
from detaux.runtime.engines import Compute


class MainPhase(Phase):
    """Learn from pairs. If there is a mined graph, the oracle reads it between steps."""

    name = "main"
    begins_from_autoencoder = True
    is_observed = True
    images_per_sample = 2

    def __init__(self, config: Config, stream: SampleStream, device: torch.device) -> None:
        super().__init__(config, stream, device)
        self.backend = choose_backend(config.losses.backend, device)
        self.pairs = PairStream(
            stream, config.data, config.pairs, batch_size=self.schedule.batch_size, seed=config.run.seed
        )
        self.uses_ground_truth = self.pairs.rule.uses_ground_truth
        if self.pairs.graph is not None:
            self.reader = GraphReader(self.pairs, self.pairs.graph, self.prepare, config.losses.oracle.normalizer)

    @staticmethod
    def read_schedule(config: Config) -> PhaseConfig:
        return config.disentangle.main

    def load_state(self, training: dict[str, Any]) -> None:
        if self.reader is not None and training:
            self.reader.graph.subspaces = training["edge_subspaces"]

    def list_state(self) -> dict[str, Tensor]:
        return {} if self.reader is None else {"edge_subspaces": self.reader.graph.subspaces}

    @property
    def loss(self) -> Compute:
        return compute_objective

    def list_idle(self, model: Disentangler) -> list[nn.Module]:
        return [] if model.label_part is None else [model.label_part]

    def draw_batch(self, step: int, part: int) -> MicroBatch:
        config, chains = self.config, self.pairs.chains
        wanted = split_batch(chains, part, self.parts, "chains")
        batch = self.pairs.batch(step, wanted)
        images = self.prepare(batch.images, config.disentangle.warmup.steps + step, wanted, chains)
        mixes = draw_mixes(
            config.pairs.reuse,
            chains,
            wanted,
            subspaces=config.model.subspaces,
            mixes=config.losses.consistency.mixes,
            parts=self.parts,
            seed=(config.run.seed, MIX_STREAM, step),
        )
        facts = {"pairs/different_share": batch.is_different.float().mean()}
        share = compute_one_factor_share(batch)
        if share is not None:
            facts["pairs/one_factor_share"] = share
        return MicroBatch((images, batch.labels.to(self.device), batch.chains, mixes.to(self.device)), facts)

    def list_settings(self, step: int) -> dict[str, Any]:
        return {
            "losses": self.config.losses,
            "autocast": self.autocast,
            "betas": self.compute_betas(step + 1),
            "pairs": self.config.pairs,
            "backend": self.backend,
        }

    def compute_progress(self, done: int) -> float:
        begin = self.config.losses.schedule.warmup_fraction
        return begin + (1 - begin) * done / self.schedule.steps

    def compute_betas(self, done: int) -> tuple[float, float, float]:
        return compute_betas(self.compute_progress(done), self.config.losses.schedule)
