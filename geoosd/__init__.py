"""Geometry OS: daemons that let people see a language model think, live."""

__version__ = "0.1.0"
