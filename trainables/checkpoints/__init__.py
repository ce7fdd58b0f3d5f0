"""Published weights: their formats, and a reader for foreign pickles that runs nothing. May use:
data, models, store."""
