"""Rules that draw the second image of a pair, one file each (`pairs.partner`); registry.py finds one by its name."""
