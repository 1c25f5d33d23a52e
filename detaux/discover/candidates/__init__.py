"""Make candidates, one file for each kind. registry.py finds a kind by its name."""
