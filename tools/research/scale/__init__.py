"""A simulation of runs on many machines: counts from the real networks, and a model of time, memory and
exchanges."""
