"""A model captured once, as a graph of standard operators; what is coupled in it, and trimming."""
