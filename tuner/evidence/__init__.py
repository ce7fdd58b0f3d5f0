"""Which evidence to gather of a study, and where it is kept. May use: storage."""
