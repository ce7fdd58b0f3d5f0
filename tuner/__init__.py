"""When and where: stages of a study over Ray, their tracking, and the command line."""
