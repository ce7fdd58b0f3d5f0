"""One file a command: its options and its story. May use all of tuner but `cli`.

What is heavy (torch, Ray, MLflow, pandas) is imported inside functions: `--help` loads every file.
"""
