"""Measures the scanner: a zoo of models with known contents, scanned through the service and beside its rivals."""
