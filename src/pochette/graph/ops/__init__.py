"""One operator family a file: its cost, its coupling, its C."""
