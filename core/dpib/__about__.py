"""The one place where versions are written; imports nothing so that setuptools can read it."""

__version__ = "0.1.0"

API_VERSION = (1, 1)
"""Version of ``dpib.api``: minor is additive, major ends with a deprecation cycle."""
