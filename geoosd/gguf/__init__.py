"""Local GGUF files: their metadata, and where other programs keep them. A library; no daemon."""
