"""The robustness suite: every practical edit of copy detection alone, and some in twos, with a score for each."""
