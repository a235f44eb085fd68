"""Experiments as files: what a grid asks for, what of it is missing here, and runners that do it."""
