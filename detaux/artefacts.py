"""Name the files that stages leave, each once, so that who writes, reads, hashes and shows a file mean the same one.

Nothing is imported here: every room may ask for a name.
"""

from pathlib import Path

# of every stage but the report
CONFIG_NAME, RECORD_NAME = "config.yaml", "record.json"

MANIFEST_NAME = "manifest.json"  # of a shard set

# of training, in the folder of a stage or of a restart
CHECKPOINT_NAME, WEIGHTS_NAME, METRICS_NAME = "checkpoint", "model.safetensors", "metrics.jsonl"
MODEL_FILE = Path(CHECKPOINT_NAME) / WEIGHTS_NAME
AUTOENCODER_FILE = Path(CHECKPOINT_NAME) / "autoencoder.safetensors"  # the same network at the end of its warm-up
SCORES_NAME = "scores.json"

LABELS_NAME, DISCOVERY_NAME, GALLERY_NAME = "labels.parquet", "discovery.json", "gallery.npz"

ACCURACIES_NAME, CURVES_NAME = "metrics.json", "curves.jsonl"
ROWS_NAME, STATES_NAME = "rows.jsonl", "states"  # of multi-task trials, until all are finished

REPORT_NAME = "report.html"

BEST_NAME, TRIALS_NAME, SUMMARY_NAME = "best.yaml", "trials.parquet", "sweep.json"  # of a sweep

WANDB_NAME = "wandb.json"  # in the folder of a stage that W&B mirrors
