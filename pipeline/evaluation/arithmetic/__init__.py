"""The formulas behind metrics, each with its paper."""
