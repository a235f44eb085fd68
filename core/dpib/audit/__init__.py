"""``dpib audit``: games that can refute a claim of differential privacy, and never prove one (privacy 8)."""
