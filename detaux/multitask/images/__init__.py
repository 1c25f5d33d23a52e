"""Where training images come from, one file a source: those of the split, and those turned by quarter turns."""
