"""What makes a single weight worth keeping; one file each."""
