"""The command line. Heavy imports stay inside commands."""
