"""What is kept of finished results and computed about them: weights, evidence. May use: base,
regimes, spec."""
