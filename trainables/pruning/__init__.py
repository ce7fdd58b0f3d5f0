"""Masks, and the prunings that make them. May use: runtime, models."""
