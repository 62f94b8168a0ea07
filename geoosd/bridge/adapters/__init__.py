"""I/O of the bridge: upstreams, proxy, the way to the compositor."""
