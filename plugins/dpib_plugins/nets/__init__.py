"""Networks shared by the built-in methods."""
