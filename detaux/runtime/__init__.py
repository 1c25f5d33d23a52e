"""Hold what every stage shares and no paper describes: files, records, checkpoints, the loop, devices."""
