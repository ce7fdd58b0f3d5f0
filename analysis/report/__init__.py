"""The study on one page. May use all of analysis."""
