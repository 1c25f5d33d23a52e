"""Search over configs: Ray Tune runs many short trainings, and they are judged without ground truth."""
