"""The formulas behind the metrics, each with its paper."""
