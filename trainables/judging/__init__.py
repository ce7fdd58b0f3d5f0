"""Networks judged beyond clean and PGD accuracy, and networks from elsewhere judged. May use:
everything of trainables but jobs, export, evidence, estimate, bench."""
