"""Evidence on finished results: masks, agreement, loss landscapes, calibration, masked gradients.
May use: jobs."""
