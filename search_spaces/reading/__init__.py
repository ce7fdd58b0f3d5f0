"""From a YAML file and overrides to a valid study, or one line that says what is wrong. May use
all of search_spaces."""
