"""Runs code that is not trusted in a process of its own, and believes nothing that it says. See docs/isolation.md."""
