"""Trained networks taken away: channels that do nothing are removed, and what is left is written in
formats that others read. May use: runtime, models, data, pruning, store, jobs."""
