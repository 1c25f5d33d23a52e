"""Networks from images [B, 3, S, S] to a list of logits [B, classes], one for each task, the principal one first."""
