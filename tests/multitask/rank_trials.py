"""A program of the tests, one rank of one or several: train trials by each engine and print their curves as JSON.

rank_trials.py ENGINE...
"""

import json
import sys
from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from detaux.backbones import BACKBONES
from detaux.backbones.small_cnn import SmallCnn
from detaux.config.schema import AuxilearnConfig, DWAConfig, EngineConfig, GradNormConfig, MultitaskConfig
from detaux.data.recombined import RecombinedImages
from detaux.multitask import batches
from detaux.multitask.batches import TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.images.augmentation import Augmentation
from detaux.multitask.trial import Trial
from detaux.runtime.ranks import is_first, join_ranks

# batches of 19: 47 labelled images leave one of 9, which does not divide over two ranks, and all 96 one of a single image
AUGMENTATION = Augmentation(crop=1, flip=True, colour=0.2, mixup=0.3)
# the rules change their weights so much that a value which is not reduced over ranks is seen
RULES = {"dwa": DWAConfig(temperature=0.02), "gradnorm": GradNormConfig(lr_factor=100.0)}
LEARNED = AuxilearnConfig(every=2, held_out=0.2, neumann_lr=0.05)
CONFIG = MultitaskConfig(epochs=2, batch_size=19, dropout=0.0, head_hidden=16, auxilearn=LEARNED, **RULES)
TRIALS = (
    Trial("stl", "none", 0.0, 0),
    Trial("hard_sharing+uncertainty", "discovered", 0.7, 0),
    Trial("hard_sharing", "rotation", 0.5, 1),
    Trial("hard_sharing+dwa", "discovered", 0.7, 0),
    Trial("hard_sharing+gradnorm", "discovered", 0.7, 0),
    Trial("hard_sharing+pcgrad", "discovered", 0.7, 0),
    Trial("hard_sharing+mgda", "discovered", 0.7, 0),
    Trial("balanced", "discovered", 1.0, 0),
    Trial("nddr", "discovered", 0.5, 0),
    Trial("maxl", "none", 0.0, 0),
    Trial("auxilearn", "none", 0.0, 0),
    Trial("auxilearn_combine", "discovered", 0.7, 0),
)
RECOMBINED = ("stl", "hard_sharing", "auxilearn_combine")  # these train on recombined images too
NORMALIZED = ("maxl", "auxilearn_combine")  # with batch normalisation, of which their steps take second derivatives


class NormalizedCnn(SmallCnn):
    """The small backbone with batch normalisation in place of group normalisation."""

    def __init__(self):
        super().__init__()
        for place, layer in enumerate(self.body):
            if isinstance(layer, nn.GroupNorm):
                self.body[place] = nn.BatchNorm2d(layer.num_channels)


def build_data(trial):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (96, 8, 8, 3), generator=generator).to(torch.uint8)
    principal = torch.where(torch.arange(96) < 47, torch.arange(96) % 2, -1)
    auxiliary = torch.arange(96) % 3 if trial.labels == "discovered" else None
    classes = {"none": [2], "discovered": [2, 3], "rotation": [2, 4]}[trial.labels]
    augmentation = AUGMENTATION if trial.labels == "rotation" else Augmentation()
    recombined = None
    if trial.method in RECOMBINED:
        made = torch.randint(0, 256, (30, 8, 8, 3), generator=generator).to(torch.uint8)
        recombined = RecombinedImages(made, torch.arange(30) % 2, torch.arange(30) * 3, 0.4)
    return TrainingData(images, principal, auxiliary, classes, 0.1, augmentation, recombined)


def train_all(engine):
    """The curve of every trial by its name."""
    curves = {}
    for trial in TRIALS:
        data = build_data(trial)
        config = replace(CONFIG, backbone="normalized") if trial.method in NORMALIZED else CONFIG
        config = replace(config, epochs=3) if trial.method.endswith("+dwa") else config  # it compares the first two
        held_out = (data.images.flip(0), torch.arange(96) % 2)
        _, _, curves[trial.name] = train_trial(trial, config, data, held_out, engine_config=EngineConfig(name=engine))
    return curves


def widen(module, given):
    """What a module is given, in the default precision."""
    return tuple(
        each.to(torch.get_default_dtype()) if torch.is_tensor(each) and each.is_floating_point() else each
        for each in given
    )


batches.EVALUATION_BATCH = 40  # so that the ranks share the 96 held-out images unevenly
BACKBONES["normalized"] = lambda side: NormalizedCnn()
torch.set_num_threads(1)
# a network with batch normalisation multiplies differences of rounding; in float64 they stay far below any mistake
torch.set_default_dtype(torch.float64)
register_module_forward_pre_hook(widen)
with join_ranks(torch.device("cpu"), needs_group=True):
    found = {engine: train_all(engine) for engine in sys.argv[1:]}
    if is_first():
        print(json.dumps(found))
