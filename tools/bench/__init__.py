"""Benchmarks: `make bench` runs each module that has a `--json`."""
