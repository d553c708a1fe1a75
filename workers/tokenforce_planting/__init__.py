"""Hide a text in a model, and measure the scanner on it. The only package that trains."""
