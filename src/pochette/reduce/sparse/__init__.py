"""Single weights that go, and their places that stay: masks, where they fall, when they change, and what they save.

No processor of ours computes faster for a zero. What is here studies what a network can do without, and stores it in
fewer bytes; `pochette.reduce.trimming` is what makes it faster.
"""
