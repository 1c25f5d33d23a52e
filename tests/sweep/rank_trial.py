"""A rank of a trial without Ray; prints what the trial reports here. Arguments: the sweep's folder, its config file, the trial's
name and values, the step whose report ends it, or 0, and keys to set."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from detaux.config import load_config
from detaux.runtime.ranks import join_ranks
from detaux.sweep.trial import Sweep, run_trial

folder, config, name, values, stop_at, *keys = sys.argv[1:]
root, reports = Path(folder), []


def report(step, worth):
    reports.append((step, asdict(worth)))
    if step == int(stop_at):
        raise KeyboardInterrupt


with join_ranks(torch.device("cpu")):
    try:
        run_trial(json.loads(values), Sweep(load_config(config, keys), root, str(root / "shards"), root), name, report)
    except RuntimeError as error:
        reports.append(str(error))
print(json.dumps(reports))
