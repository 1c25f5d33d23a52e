"""From tars to device batches."""
