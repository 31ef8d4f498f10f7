"""The one typed configuration of a run, and how it is read."""
