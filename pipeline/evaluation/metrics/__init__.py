"""What can be measured. A new metric is one file here and one entry in `registry`."""
