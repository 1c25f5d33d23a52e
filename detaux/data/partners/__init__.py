"""Draw the second image of a pair by one of several rules (`pairs.partner`), one file each. registry.py lists them."""
