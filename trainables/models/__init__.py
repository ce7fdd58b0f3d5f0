"""The networks: ours, and those of libraries and users made fit for all that is done with ours. May
use: runtime."""
