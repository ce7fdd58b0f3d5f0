"""Ray: starting it or connecting to it, what fits, which nodes come and go. May use: runtime."""
