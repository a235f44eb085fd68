"""Images: the contract, dataset cards, splits and loading."""
