"""Other projects' weight files, read without running any code in them."""

from pipeline.importing.files import Weights, read_weights
from pipeline.importing.parts import Part, parts_of
from pipeline.importing.values import Refused

__all__ = ["Part", "Refused", "Weights", "parts_of", "read_weights"]
