"""One module per family of backbones; modules whose name starts with _ are shared parts."""
