"""Triton backends of the losses, each equal to a reference beside this folder; imported only where one is chosen."""
