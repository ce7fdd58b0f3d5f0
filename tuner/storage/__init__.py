"""A study's results on disk: what is complete, failed, damaged or removable; its input files.
May use: runtime, cluster, scheduling."""
