"""Measures the scanner on a zoo: models whose hidden texts are known. Compares it with other scanners."""
