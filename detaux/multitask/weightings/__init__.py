"""How the losses of the tasks become one loss, one file a rule; a method picks its rule."""
