"""Ways to read a network, one a file: see `pochette.measure.analysis`."""
