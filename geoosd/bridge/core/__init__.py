"""The bridge without I/O: streams, chunks, tokens, exchanges, routing, the outbox."""
