"""The bridge: taps model servers' streams and sends what it sees to the compositor."""
