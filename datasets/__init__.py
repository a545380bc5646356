"""One module per dataset; modules whose name starts with _ are shared parts."""
