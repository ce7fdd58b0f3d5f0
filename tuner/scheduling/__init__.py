"""What a study still needs, and in which order: the worklist, the queue, searches over levels.
May use: nothing of tuner."""
