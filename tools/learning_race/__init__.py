"""Whether one configuration learns as well as another: see `tools.learning_race.__main__`."""
