"""The one place the version is written; imports nothing so that setuptools can read it."""

__version__ = "0.1.0"
