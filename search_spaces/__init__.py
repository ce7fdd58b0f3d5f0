"""What is searched: studies, their parts and their keys. No torch, ray or mlflow here."""

__version__ = "0.1.0"
