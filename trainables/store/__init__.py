"""What is kept on disk: finished results, unfinished trainings, tensors. May use: training."""
