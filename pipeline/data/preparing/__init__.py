"""Pictures into shards: what was asked for, the work in processes, and a report."""
