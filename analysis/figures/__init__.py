"""Figures: pure functions from tables to matplotlib figures. A new figure stands here and is named
in `named`. May use: verdict, tables, store."""

from analysis.figures.over_epochs import collapse
from analysis.figures.over_sparsity import curves
from analysis.figures.over_time import timeline
from analysis.figures.style import check_path, save

__all__ = ["check_path", "collapse", "curves", "save", "timeline"]
