"""How this process computes: seeds, precision, compilation, memory. May use nothing else of
trainables."""
