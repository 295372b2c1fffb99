"""One generative model a file."""
