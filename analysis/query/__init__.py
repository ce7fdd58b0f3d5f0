"""Rows and pairs of results: filters, groups, comparisons, one result in full. May use: store,
tables."""
