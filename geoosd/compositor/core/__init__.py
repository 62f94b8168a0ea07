"""Pure parts of the compositor: no I/O, no clock; ``now`` is always an argument."""
