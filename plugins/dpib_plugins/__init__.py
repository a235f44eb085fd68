"""Built-in methods of dpib: one folder per method, networks they share in ``nets``."""
