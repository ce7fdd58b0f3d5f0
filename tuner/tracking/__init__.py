"""MLflow's only writer. May use: storage."""
