"""What tasks can have of what a study can say. May use specs."""
