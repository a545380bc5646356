"""CITATION.cff: what the Citation File Format 1.2.0 requires, and what the project says of itself elsewhere."""

import tomllib

import yaml

from tests.conftest import ROOT

CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_it_has_what_the_format_requires() -> None:
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert all(isinstance(CITATION[key], str) and CITATION[key] for key in ("message", "title"))
    assert [author["name"] for author in CITATION["authors"]] == ["The descriptor-bench authors"]
    (paper,) = CITATION["references"]
    assert paper["type"] == "conference-paper" and paper["year"] == 2023
    assert paper["authors"][0] == {"family-names": "Somepalli", "given-names": "Gowthami"}
    assert all({"type", "value"} <= identifier.keys() for identifier in paper["identifiers"])


def test_it_agrees_with_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (CITATION["version"], CITATION["license"]) == (project["version"], project["license"])
    assert CITATION["references"][0]["url"] in (ROOT / "README.md").read_text()
