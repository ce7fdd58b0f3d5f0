"""What sparsity gains when a network answers: ways to run it, timed in turns. May use: runtime,
models, training, export, estimate, bench."""
