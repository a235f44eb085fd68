"""The board as a Hugging Face Space: reads the results repository named by ``DPIB_STORE``."""

from __future__ import annotations

import os

from dpib_leaderboard.app import serve

if __name__ == "__main__":
    serve(os.environ.get("DPIB_STORE") or None, port=int(os.environ.get("PORT", "7860")), host="0.0.0.0")
