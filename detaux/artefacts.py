"""Name the files that stages leave, so that all code that writes, reads, hashes or shows a file uses the same name.

This file imports nothing of detaux, so that all of it may import this file.
"""

from pathlib import Path

# left by every stage except the report
CONFIG_NAME, RECORD_NAME = "config.yaml", "record.json"

MANIFEST_NAME = "manifest.json"  # describes a shard set

# left by training, in the folder of a stage or of a restart
CHECKPOINT_NAME, WEIGHTS_NAME, METRICS_NAME = "checkpoint", "model.safetensors", "metrics.jsonl"
MODEL_FILE = Path(CHECKPOINT_NAME) / WEIGHTS_NAME
AUTOENCODER_FILE = Path(CHECKPOINT_NAME) / "autoencoder.safetensors"  # the same network at the end of its warm-up
SCORES_NAME = "scores.json"

LABELS_NAME, DISCOVERY_NAME, GALLERY_NAME = "labels.parquet", "discovery.json", "gallery.npz"
# labels of the splits on which nothing trains, by split; only cross-prediction gives them
HELD_OUT_LABELS = {"validation": "labels-validation.parquet", "test": "labels-test.parquet"}

ACCURACIES_NAME, CURVES_NAME = "metrics.json", "curves.jsonl"
ROWS_NAME, STATES_NAME = "rows.jsonl", "states"  # kept for multi-task trials until all are finished

VARIANTS_NAME = "variants"  # folder in a run, with the folders of other discoveries

REPORT_NAME = "report.html"

BEST_NAME, TRIALS_NAME, SUMMARY_NAME = "best.yaml", "trials.parquet", "sweep.json"  # left by a sweep

WANDB_NAME = "wandb.json"  # in the folder of a stage that W&B mirrors
