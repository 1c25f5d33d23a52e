"""Make training images that show one image with the label of another class."""
