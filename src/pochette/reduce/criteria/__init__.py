"""What makes a unit worth keeping: one score a file."""
