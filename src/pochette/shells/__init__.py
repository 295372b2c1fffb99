"""What wraps an engine for one host world."""
