"""The bench's Ray part. May use: stages."""
