"""One file a command: its options and its story. May use all of analysis but `cli`.

What is heavy (pandas, MLflow, matplotlib) is imported inside functions: `--help` loads every file.
"""
