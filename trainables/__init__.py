"""How one thing is trained. Pure torch, but for the two thin Ray workers."""
