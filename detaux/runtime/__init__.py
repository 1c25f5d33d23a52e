"""What every stage shares and no paper knows: files, records, checkpoints, the loop, devices."""
