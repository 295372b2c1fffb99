"""Differentiable building blocks with streaming state."""
