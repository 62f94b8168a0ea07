"""What crosses a process boundary: messages, framing, Varlink, reports. Pure."""
