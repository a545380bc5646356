"""Experiments with generators: how far copying depends on the number of training images."""
