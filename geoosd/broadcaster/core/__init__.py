"""What a viewer gets next, and why: pure policy without sockets or clocks."""
