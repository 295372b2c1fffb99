"""From graph to C99, and running it natively, in the sandbox and in emulators."""
