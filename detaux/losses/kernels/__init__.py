"""Measure pairs in Triton, with the results of the reference in the folder above. Imported only if chosen."""
