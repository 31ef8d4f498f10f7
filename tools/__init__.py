"""Programs for people who work on hrgan: benchmarks, comparisons and torture tests."""
