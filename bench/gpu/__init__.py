"""What fits of the `paper` track into a slot of a GPU."""
