"""Do captured steps do what eager ones do? Cases, and their comparison. May use: training, models,
pruning, data."""
