"""Published retrieval benchmarks, each in its published layout and protocol; modules that start with _ are shared."""
