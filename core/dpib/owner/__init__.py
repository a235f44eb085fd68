"""The data owner's mode: from a folder of own images to a synthetic set that can be released, with its certificate."""
