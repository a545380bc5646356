"""Whether generated images copy the training images of their generator."""
