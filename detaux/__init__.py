"""Find a second task hidden in labelled images, and use it to train a better classifier for the first."""

__version__ = "0.1.0"
