"""What a private step costs: ``python -m bench.dpsgd`` (see ``__main__``)."""
