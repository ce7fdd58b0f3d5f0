"""What a network is trained and judged for: each task gives the one loop its loss, its attack and
its scores. May use training."""
