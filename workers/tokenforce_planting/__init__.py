"""Hide a text in a model. The only package that trains."""
