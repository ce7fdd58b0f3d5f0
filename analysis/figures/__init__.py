"""Figures: pure functions from tables to matplotlib figures."""

from analysis.figures.over_epochs import collapse
from analysis.figures.over_sparsity import curves
from analysis.figures.style import check_path, save

__all__ = ["check_path", "collapse", "curves", "save"]
