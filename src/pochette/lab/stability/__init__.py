"""Why small networks work, as far as training or disturbing them tells; what can be read off one is in `measure`."""
