"""How fast backbones are: every cell in a process of its own, raw durations kept, one table of them."""
