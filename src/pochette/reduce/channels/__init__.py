"""Filters and channels that go: which, in what order along the signal, and how who read them makes up for it.

What is decided here is cut by `pochette.reduce.trimming.trim_model`, like everything else.
"""
