"""Making models smaller by removing units."""
