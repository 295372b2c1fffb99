"""The .pochette file and how it is played; torch-free."""
