"""The public board of dpib, and what feeds it: store, submission and review."""
