"""Tests compute on one thread (they run side by side) and keep the Hub's caches out of the user's home."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HOME", tempfile.mkdtemp(prefix="dpib-tests-hf-"))
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("COLUMNS", "160")
