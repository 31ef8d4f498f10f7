"""A run on many machines, computed: counts from the real networks, a model of time, memory and exchanges."""
