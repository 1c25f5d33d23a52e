"""Turn run folders into one self-contained page, with its tables and figures as files."""
