"""One readable loop, checkpoints."""
