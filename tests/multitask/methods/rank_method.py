"""A program of the tests, one rank of one or several: train a method that stands in a file of its own.

rank_method.py FILE NAME: registers class NAME of FILE, trains it, and prints its curve and its learned weights as JSON.
"""

import json
import runpy
import sys

import torch

from detaux.config.schema import MultitaskConfig
from detaux.multitask.batches import TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.methods import register
from detaux.multitask.trial import Trial
from detaux.runtime.ranks import is_first, join_ranks

# 47 labelled images in batches of 19 leave one of 9, which does not divide over two ranks
CONFIG = MultitaskConfig(epochs=4, batch_size=19, lr=0.02)

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (96, 8, 8, 3), generator=generator).to(torch.uint8)
classes = torch.arange(96) % 2
images[:, :4] = images[:, :4] // 2 + 120 * classes[:, None, None, None].to(torch.uint8)
data = TrainingData(images, torch.where(torch.arange(96) < 47, classes, -1), torch.arange(96) % 3, [2, 3], noise=0.0)
method = runpy.run_path(sys.argv[1])[sys.argv[2]]
register("mine", method)
with join_ranks(torch.device("cpu")):
    network, best, curve = train_trial(Trial("mine", "discovered", 0.5, 0), CONFIG, data, (images, classes))
    if is_first():
        print(json.dumps({"curve": curve, "learned": method.learned[-1].tolist()}))
