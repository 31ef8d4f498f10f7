"""hrgan's pipeline: data, networks, training, evaluation and generation."""
