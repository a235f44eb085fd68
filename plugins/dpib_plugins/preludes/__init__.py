"""Built-in preludes: a folder each, like methods."""
