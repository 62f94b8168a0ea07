"""What the engine decides, without I/O: the server's settings, and what its health is."""
