"""The report of one experiment: a page, its tables and its pictures."""
