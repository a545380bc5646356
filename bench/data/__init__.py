"""Images where they lie: listed, unpacked, checked, and what of them is left out."""
