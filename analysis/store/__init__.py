"""MLflow's only reader: runs, artifacts, a study's table. May use: verdict, tables."""
