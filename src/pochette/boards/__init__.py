"""Facts of the machines an engine is made for, one board a file."""
