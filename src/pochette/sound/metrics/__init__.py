"""Distances between a sound and its reference, one a file."""
