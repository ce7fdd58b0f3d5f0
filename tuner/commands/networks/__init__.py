"""Commands about single networks, rather than about a study as a whole."""
