"""The control daemon: one place that knows how all the others are, and asks them for clients."""
