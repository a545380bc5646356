"""Synthetic copies: a part of an original in another image, or with everything but a part painted anew."""
