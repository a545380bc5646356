"""The harness: plans a run, extracts descriptors, searches, scores, ranks and reports."""
