"""Tables as text, Markdown, LaTeX, CSV and JSON. May use: verdict."""
