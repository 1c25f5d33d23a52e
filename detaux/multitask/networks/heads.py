"""Build the classifier head of one task."""

from torch import nn


def build_head(features: int, hidden: int, dropout: float, classes: int) -> nn.Module:
    """Build linear, ReLU, dropout, linear, which map features [B, F] to logits [B, classes]."""
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes))
