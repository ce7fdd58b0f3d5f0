"""Hyper-parameter search with Optuna. May use: stages."""
