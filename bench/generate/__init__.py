"""Diffusion models: trained on nested subsets of images, and sampled image by image, each from a seed of its own."""
