"""What is wrong with a machine or with a run, and how to mend it."""
