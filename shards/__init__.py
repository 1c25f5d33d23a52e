"""Build, check and repack WebDataset shards (the record format is in README.md)."""
