"""One reduction method a file."""
