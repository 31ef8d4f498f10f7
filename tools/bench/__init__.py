"""Benchmarks. `make bench` runs each module that has the option `--json`."""
