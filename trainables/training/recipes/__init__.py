"""What a recipe says, done: optimisers, learning rates, averages of weights."""
