"""One file a command, and the command line. May use all of tuner."""
