"""geoosctl: the client of geoos. It speaks Varlink to control and needs no daemon to start."""
