"""The speed of a training step against published loops and libraries. May use: training,
estimate."""
