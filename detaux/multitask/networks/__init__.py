"""Define networks from images [B, 3, S, S] to logits [B, classes] of each task, the principal one first."""
