"""What touches sockets, files, threads and pixels on the compositor's behalf."""
