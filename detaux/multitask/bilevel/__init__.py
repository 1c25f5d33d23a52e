"""Give methods that learn their own loss its parts: gradients through training, soft labels, combined task losses."""
