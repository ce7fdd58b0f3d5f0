"""What it shows: verdicts, tables and figures, read from MLflow alone. No ray or torch here."""
