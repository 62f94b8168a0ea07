"""Pure parts of control: merging what the daemons answer, restarts, and the root cause."""
