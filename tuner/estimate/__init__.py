"""What a run takes in time and disk. May use: storage, cluster."""
