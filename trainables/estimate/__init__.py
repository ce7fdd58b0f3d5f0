"""How many steps a training takes, and what one costs here. May use: training."""
