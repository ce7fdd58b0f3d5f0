"""This command's process: settings, screen and log, signals, the lock on a study."""
