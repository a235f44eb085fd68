"""The rules of the benchmark: one file per track. A released track is never edited, only superseded."""

from __future__ import annotations

from dpib.spec import Track
from dpib.tracks import demo, lite, paper

TRACKS: tuple[Track, ...] = (demo.TRACK, lite.TRACK, paper.TRACK)
"""Every official track. Plugins may add others, under other names."""
