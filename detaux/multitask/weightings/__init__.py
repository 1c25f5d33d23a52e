"""Combine the losses of the tasks into one loss. Each rule has its own file, and a method picks its rule."""
