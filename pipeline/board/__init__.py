"""What TensorBoard is shown beside curves."""
