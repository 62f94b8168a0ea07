"""The compositor: places tokens on the map, keeps the neural state, draws it, numbers the feed."""
