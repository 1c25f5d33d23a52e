"""A program of the tests: take 4 steps under several engines and settings, and save what each step computed.

    rank_steps.py SHARDS OUT.safetensors CASE [CASE ...]       each CASE is a JSON object

Run with the environment of a launcher it is one rank of several. A case is {"name", "keys", "zero", "local", "tile",
"from", "until"}: config keys, a ZeRO stage, a statistic ("normalizer", "usage", one of the contrasts or "mixes") that is wrongly
left to each rank, values of a tile, the checkpoint folder to go on from, and [folder, step] to stop and leave a checkpoint at.
The phase is the warm-up if the case has "warmup", else the main one.
"""

import contextlib
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from detaux.config import load_config
from detaux.data.stream import SampleStream
from detaux.disentangle import hard_images
from detaux.disentangle.model import Disentangler
from detaux.disentangle.phases import WarmupPhase
from detaux.disentangle.phases import main as main_phase
from detaux.disentangle.trainer import Trainer
from detaux.losses import neighbour_contrast, oracle, principal_contrast, regularization, tiles
from detaux.runtime.checkpoint import load_checkpoint
from detaux.runtime.collectives import gather_objects
from detaux.runtime.ranks import is_first, join_ranks

STEPS = 4
HASH = "of the same inputs"
STATISTICS = {
    "normalizer": oracle,
    "usage": regularization,
    "contrast": principal_contrast,
    "neighbour contrast": neighbour_contrast,
}
ALONE = {
    "rank": lambda: 0,
    "world_size": lambda: 1,
    **dict.fromkeys(("global_mean", "gather_rows"), lambda values: values),
}


@contextlib.contextmanager
def left_local(statistic):
    """Break a reduction over ranks."""
    module = STATISTICS.get(statistic)
    names = [name for name in ALONE if hasattr(module, name)]
    true, draw_mixes = {name: getattr(module, name) for name in names}, main_phase.draw_mixes

    def count_local(*args, **kwargs):
        mixes = draw_mixes(*args, **kwargs)
        return dataclasses.replace(mixes, mean_count=len(mixes.pair_R))

    if statistic == "mixes":
        main_phase.draw_mixes = count_local
    for name in names:
        setattr(module, name, ALONE[name])
    yield
    main_phase.draw_mixes = draw_mixes
    for name, function in true.items():
        setattr(module, name, function)


def take_steps(config, shards, origin, until, kind):
    """The parts of each step and the first moment of each parameter's gradient after it."""
    stream = SampleStream(shards, "train", config.data, seed=0, device=torch.device("cpu"), needs_factors=True)
    phase = kind(config, stream, torch.device("cpu"))
    trainer = Trainer(config, config.data.side, phase)
    torch.manual_seed(0)
    begin, weights, training = 0, Disentangler(config.model, config.data.side, stream.classes).state_dict(), {}
    if origin:
        begin, weights, training = load_checkpoint(Path(origin), HASH)
    trainer.load(weights, training)
    found = {}
    folder, end = until or (None, STEPS)
    for step in range(begin, end):
        parts = trainer.step(step)
        for name, value in parts.items():
            found.setdefault(f"part/{name}", []).append(torch.as_tensor(value).clone())
        # AdamW's first moments are those of the gradients, in every engine
        for name, state in trainer.engine.state().optimizer.items():
            found.setdefault(f"moment/{name}", []).append(state["exp_avg"].clone())
    if folder:
        trainer.save(Path(folder), HASH, 0, end)
    return {name: torch.stack(values) for name, values in found.items()}


def main():
    shards, out, cases = Path(sys.argv[1]), Path(sys.argv[2]), [json.loads(text) for text in sys.argv[3:]]
    torch.set_num_threads(1)
    # millions of ReLUs a case: some lie so near their kink that rounding decides which gradient they have
    torch.nn.ReLU = torch.nn.SiLU
    hard_images.STEPS = 2  # so that images are hard for the network, which learns these classes within a few steps
    results, whole = {}, tiles.TILE
    with join_ranks(torch.device("cpu"), needs_group=True), tempfile.TemporaryDirectory() as folder:
        for case in cases:
            keys = list(case["keys"])
            if "zero" in case:
                path = Path(folder) / "knobs.json"
                path.write_text(json.dumps({"zero_optimization": {"stage": case["zero"]}}))
                keys += ["engine.name=deepspeed", f"engine.deepspeed={path}"]
            tiles.TILE = case.get("tile", whole)
            with left_local(case.get("local")):
                kind = WarmupPhase if case.get("warmup") else main_phase.MainPhase
                found = take_steps(load_config(None, keys), shards, case.get("from"), case.get("until"), kind)
            for name, values in found.items():
                if name.startswith("part/"):
                    values = torch.stack(gather_objects(values)).mean(0)  # as the log does
                results[f"{case['name']}/{name}"] = values.contiguous()
    if is_first():
        save_file(results, out)


main()
