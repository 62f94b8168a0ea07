"""The broadcaster: one port for the page, the numbered feed and any number of viewers."""
