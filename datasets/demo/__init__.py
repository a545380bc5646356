"""The embedded default: two small datasets cut from photographs that ship inside two Python packages."""
