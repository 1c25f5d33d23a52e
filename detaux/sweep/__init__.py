"""Search over configs: many short trainings, judged without ground truth, by Ray Tune."""
