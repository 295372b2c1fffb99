"""Sound on disk and as numbers: files, features, losses, metrics, differentiable synthesis."""
