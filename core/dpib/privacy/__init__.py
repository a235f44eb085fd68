"""The trusted part: mechanisms, their prices, the ledger, and the only way to private images."""
