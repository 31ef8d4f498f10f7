"""Commands as jobs of a cluster, as processes of a machine, and how they stand."""
