"""Sockets, HTTP and WebSocket around :mod:`geoosd.broadcaster.core`."""
