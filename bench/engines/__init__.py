"""Where the work is done: in this process, or by the workers of a Ray cluster."""

from bench.engines.cluster import Cluster, Engine

__all__ = ["Cluster", "Engine"]
