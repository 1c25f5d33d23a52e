"""Compare the disentangle step with the official code's step: same net, 64 px, batch 32, interleaved in one run.

    python benchmarks/bench_step.py [--pairs 32] [--rounds 7] [--steps 12] [--threads 1] [--device cuda]
        [--without compile bf16]

Every case trains the simple_conv autoencoder with K = D = 10 and all losses on. `pairs/s` is the median over rounds.
The ratio is the median of the rounds' own ratios to the baseline. --without leaves out the cases with one of these
words in their names.
"""

import argparse
import dataclasses
import itertools
import statistics

import torch
from bench_losses import Step, leave_out, measure_seconds
from official_step import OfficialModel, compute_official_loss
from results import append_row, name_machine, read_command

from detaux.config.schema import LossesConfig, ModelConfig, PairsConfig
from detaux.disentangle.mixes import draw_mixes
from detaux.disentangle.model import Disentangler
from detaux.disentangle.networks import ARCHITECTURES
from detaux.disentangle.objective import compute_objective
from detaux.losses.backends import choose_backend

SIDE, SUBSPACES, LATENT = 64, 10, 10
BETAS = (1.0, 1.0, 1.0)


def build_losses(mixes: float) -> LossesConfig:
    """Return the losses in the official forms, with a given number of mixed codes per pair."""
    losses = LossesConfig()
    return dataclasses.replace(
        losses,
        distance=dataclasses.replace(losses.distance, form="official"),
        regularization=dataclasses.replace(losses.regularization, form="official"),
        consistency=dataclasses.replace(losses.consistency, mixes=mixes),
    )


def build_official_step(pairs: int, device: torch.device) -> Step:
    model = OfficialModel(*ARCHITECTURES["simple_conv"](SIDE, LATENT), SUBSPACES, LATENT).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 5e-4)
    first, second = torch.rand(2, pairs, 3, SIDE, SIDE, device=device)
    labels = torch.rand(pairs, device=device) < 0.5

    def step() -> None:
        optimizer.zero_grad()
        compute_official_loss(model, first, second, labels).backward()
        optimizer.step()

    return step


def build_our_step(
    pairs: int, device: torch.device, *, bf16: bool, channels_last: bool, compiled: bool, mixes: float, reuse: int
) -> Step:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = Disentangler(ModelConfig(encoder="simple_conv", latent=LATENT, subspaces=SUBSPACES), SIDE)
    model = model.to(device).to(memory_format=layout)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-4, fused=True)
    chains = pairs // reuse
    count = chains * (reuse + 1)
    images = torch.rand(count, 3, SIDE, SIDE, device=device).contiguous(memory_format=layout)
    labels = torch.randint(0, 2, (count,), device=device)
    losses, numbers = build_losses(mixes), itertools.count()
    backend = choose_backend(losses.backend, device)
    compute = torch.compile(compute_objective, fullgraph=True) if compiled else compute_objective

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        drawn = draw_mixes(reuse, chains, range(chains), subspaces=SUBSPACES, mixes=mixes, seed=(next(numbers),))
        loss, _ = compute(
            model,
            images,
            labels,
            chains,
            drawn.to(device),
            betas=BETAS,
            losses=losses,
            pairs=PairsConfig(principal_contrast=0.0, pull=1.0),
            backend=backend,
            autocast=torch.bfloat16 if bf16 else None,
        )
        loss.backward()
        optimizer.step()

    return step


# case -> (bf16, channels_last, compiled, mixed codes per pair, pairs in a chain)
CASES: dict[str, tuple[bool, bool, bool, float, int]] = {
    "ours, same work, fp32": (False, False, False, 2.0, 1),
    "ours, same work, channels_last": (False, True, False, 2.0, 1),
    "ours, same work, bf16 + channels_last": (True, True, False, 2.0, 1),
    "ours, same work, bf16 + channels_last + compile": (True, True, True, 2.0, 1),
    "ours, chains of 8, bf16 + channels_last": (True, True, False, 2.0, 8),
    "ours, chains of 8, one mix a pair, bf16 + channels_last": (True, True, False, 1.0, 8),
    "ours, chains of 8, one mix a pair, bf16 + channels_last + compile": (True, True, True, 1.0, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--without", nargs="+", default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    pairs, device = arguments.pairs, arguments.device
    steps = {"official step": build_official_step(pairs, device)}
    for name, (bf16, channels_last, compiled, mixes, reuse) in leave_out(CASES, arguments.without).items():
        steps[name] = build_our_step(
            pairs, device, bf16=bf16, channels_last=channels_last, compiled=compiled, mixes=mixes, reuse=reuse
        )
    for step in steps.values():
        measure_seconds(step, 3, device)  # warm-up
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            speeds[name].append(pairs / measure_seconds(step, arguments.steps, device))
    baseline = speeds["official step"]
    print(f"{'case':66} {'pairs/s':>8} {'ratio':>6}  spread of ratios")
    for name, values in speeds.items():
        ratios = [value / base for value, base in zip(values, baseline, strict=True)]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(f"{name:66} {statistics.median(values):8.1f} {statistics.median(ratios):6.2f}  {spread}")
        append_row(
            benchmark="step",
            case=f"{name}, {pairs} pairs, {name_machine(device)}",
            metric="pairs/s",
            value=statistics.median(values),
            unit="1/s",
            ratio=statistics.median(ratios),
            spread=spread,
            command=read_command(),
        )


if __name__ == "__main__":
    main()
