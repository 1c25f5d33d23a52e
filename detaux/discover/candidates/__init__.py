"""Where candidates come from, one file a kind; registry.py finds a kind by its name."""
