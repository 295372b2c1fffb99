"""Where training sounds come from."""
