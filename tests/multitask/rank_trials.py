"""A program of the tests, one rank of one or several: train trials by each engine and print their curves as JSON.

rank_trials.py ENGINE...
"""

import json
import sys

import torch

from detaux.config.schema import AuxilearnConfig, EngineConfig, MultitaskConfig
from detaux.multitask.batches import TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.images.augmentation import Augmentation
from detaux.multitask.trial import Trial
from detaux.runtime.ranks import is_first, join_ranks

# batches of 19: 47 labelled images leave one of 9, which does not divide over two ranks, and all 96 one of a single image
AUGMENTATION = Augmentation(crop=1, flip=True, colour=0.2, mixup=0.3)
LEARNED = AuxilearnConfig(every=2, held_out=0.2, neumann_lr=0.05)
CONFIG = MultitaskConfig(epochs=3, batch_size=19, dropout=0.0, head_hidden=16, auxilearn=LEARNED)
TRIALS = (
    Trial("stl", "none", 0.0, 0),
    Trial("hard_sharing+uncertainty", "discovered", 0.7, 0),
    Trial("hard_sharing", "rotation", 0.5, 1),
    Trial("hard_sharing+dwa", "discovered", 0.7, 0),
    Trial("hard_sharing+gradnorm", "discovered", 0.7, 0),
    Trial("hard_sharing+pcgrad", "discovered", 0.7, 0),
    Trial("hard_sharing+mgda", "discovered", 0.7, 0),
    Trial("maxl", "none", 0.0, 0),
    Trial("auxilearn", "none", 0.0, 0),
    Trial("auxilearn_combine", "discovered", 0.7, 0),
)


def build_data(trial):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (96, 16, 16, 3), generator=generator).to(torch.uint8)
    principal = torch.where(torch.arange(96) < 47, torch.arange(96) % 2, -1)
    auxiliary = torch.arange(96) % 3 if trial.labels == "discovered" else None
    classes = {"none": [2], "discovered": [2, 3], "rotation": [2, 4]}[trial.labels]
    augmentation = AUGMENTATION if trial.labels == "rotation" else Augmentation()
    return TrainingData(images, principal, auxiliary, classes, 0.1, augmentation)


def train_all(engine):
    """The curve of every trial by its name."""
    curves = {}
    for trial in TRIALS:
        data = build_data(trial)
        held_out = (data.images.flip(0).repeat(6, 1, 1, 1), (torch.arange(96) % 2).repeat(6))
        _, _, curves[trial.name] = train_trial(trial, CONFIG, data, held_out, engine_config=EngineConfig(name=engine))
    return curves


torch.set_num_threads(1)
with join_ranks(torch.device("cpu"), needs_group=True):
    found = {engine: train_all(engine) for engine in sys.argv[1:]}
    if is_first():
        print(json.dumps(found))
