"""Make training images, with one file for each source: images of the split, and images turned by quarter turns."""
