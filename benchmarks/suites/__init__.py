"""The suites, in the order in which a run takes them."""
