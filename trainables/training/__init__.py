"""One training: the loop, its step, attacks, evaluation, catastrophic overfitting. A new attack
stands in `attacks`. May use: runtime, models, data, pruning."""
