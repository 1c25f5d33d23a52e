"""Tell the result: run folders to one self-contained page, its tables and its figures."""
