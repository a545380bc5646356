"""Check a leaderboard of the demo against the committed one: same rows and columns, same scores.

Scores of hashes and histograms are equal to the last digit on every machine; those of networks may differ in the
last digits of a product, which can swap two neighbours in a ranking, so a small difference is allowed.
"""

import sys

import pandas as pd

TOLERANCE = {"pretrained": 0.01, "none": 1e-9}


def main(found_path: str, expected_path: str) -> None:
    """Exit with a sentence where the two tables differ."""
    keys = ["backbone", "similarity"]
    found, expected = (pd.read_csv(path).set_index(keys).sort_index() for path in (found_path, expected_path))
    if list(found.columns) != list(expected.columns) or list(found.index) != list(expected.index):
        sys.exit(f"{found_path} has other rows or columns than {expected_path}")
    if not (found["status"] == "ok").all() or found["rank"].isna().any():
        sys.exit(f"{found_path} has rows without scores or rank")
    for weights, tolerance in TOLERANCE.items():
        rows = expected["weights"] == weights
        columns = [column for column in expected.columns if "." in column] + ["mean_map"]
        difference = (found.loc[rows, columns] - expected.loc[rows, columns]).abs()
        missing = found.loc[rows, columns].isna() != expected.loc[rows, columns].isna()
        if (difference > tolerance).any(axis=None) or missing.any(axis=None):
            sys.exit(f"the scores of {weights} weights differ from {expected_path}:\n{difference.max()}")
    print(f"{len(found)} rows agree with {expected_path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
