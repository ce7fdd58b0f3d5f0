"""The networks. May use: runtime."""
