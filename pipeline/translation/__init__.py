"""Images of any size and source, translated by a trained model into a folder of pictures."""
