"""Show a run elsewhere: mirrors of metrics.jsonl, panels, and what finished stages leave at W&B."""
