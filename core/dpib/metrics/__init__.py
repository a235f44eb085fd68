"""Scores: pure functions of synthetic and real images, run after generation."""
