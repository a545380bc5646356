"""The registry: which backbones and datasets there are, and which of them a selection such as 'dino*,sscd' means.

Plugins come from this checkout's `backbones` and `datasets` folders, from installed distributions (entry
points `descriptor_bench.backbones`, `descriptor_bench.datasets`) and from single files (`load_file`).
"""

import difflib
import fnmatch
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, ParamSpec, Protocol, TypeVar

from bench.errors import UsageError
from bench.interfaces import Backbone, Dataset

ROOT = Path(__file__).resolve().parent.parent


class Named(Protocol):
    """Anything the registry keeps."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)
P = ParamSpec("P")


@dataclass(frozen=True)
class Selected(Generic[T]):
    """A chosen item.

    explicit: its name was written out; it did not come in through a group or pattern. source: the Python file that
    defines it, whose content is part of every descriptor's key.
    """

    item: T
    explicit: bool
    source: Path


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered factory. argument: what stands behind the colon of `name:ARGUMENT`, or None."""

    name: str
    make: Callable[..., T]
    groups: frozenset[str]
    argument: str | None

    def create(self, explicit: bool, argument: str | None = None) -> Selected[T]:
        """The item, made. Raises UsageError where it calls itself by another name."""
        made = self.make(argument) if argument is not None else self.make()
        expected = self.name if argument is None else f"{self.name}:"
        if not (made.name == expected if argument is None else made.name.startswith(expected)):
            raise UsageError(f"the plugin '{self.name}' made an object named '{made.name}': give both one name")
        return Selected(made, explicit, Path(inspect.getfile(self.make)))


class Registry(Generic[T]):
    """Factories by name, filled when it is first asked."""

    def __init__(self, noun: str, package: str) -> None:
        self.noun = noun
        self.package = package
        self._entries: dict[str, Entry[T]] = {}

    def register(
        self, groups: Iterable[str] = ("plugin",), argument: str | None = None
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Decorator for a factory function; its name is the plugin's name."""

        def keep(factory: Callable[P, T]) -> Callable[P, T]:
            name = factory.__name__
            known = self._entries.get(name)
            if known is not None and known.make.__module__ != factory.__module__:
                raise UsageError(
                    f"the {self.noun} '{name}' is registered twice, by {known.make.__module__} and "
                    f"{factory.__module__}: rename one of them"
                )
            self._entries[name] = Entry(name, factory, frozenset(groups), argument)
            return factory

        return keep

    @cached_property
    def _discovered(self) -> bool:
        _require_own_package(self.package)
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{self.package}."):
            if not module.name.rsplit(".", 1)[-1].startswith("_"):
                importlib.import_module(module.name)
        for point in entry_points(group=f"descriptor_bench.{self.package}"):
            try:
                point.load()
            except Exception as error:  # another project's code may raise anything
                raise UsageError(
                    f"the plugin '{point.name}' of the package {point.dist.name if point.dist else '?'} does not load "
                    f"({type(error).__name__}: {error}): mend or uninstall it"
                ) from error
        return True

    def entries(self) -> list[Entry[T]]:
        """Every registered entry, by name in natural order."""
        assert self._discovered
        return sorted(self._entries.values(), key=lambda entry: natural(entry.name))

    def groups(self) -> list[str]:
        """Names that stand for several plugins."""
        return sorted({"all"}.union(*(entry.groups for entry in self.entries())))

    def select(self, selection: str) -> list[Selected[T]]:
        """The items of a comma-separated selection of names, groups and glob patterns, each once.

        Raises UsageError, with the nearest names, where a part matches nothing.
        """
        parts = [part.strip() for part in selection.split(",") if part.strip()]
        if not parts:
            raise UsageError(f"no {self.noun} was chosen: name some, or a group ({', '.join(self.groups())})")
        chosen: dict[str, Selected[T]] = {}
        written: dict[str, str] = {}
        for part in parts:
            for found in self._match(part):
                if ":" in part and written.setdefault(found.item.name, part) != part:
                    raise UsageError(f"{written[found.item.name]} and {part} would share a name: rename one folder")
                before = chosen.get(found.item.name)
                chosen[found.item.name] = before if before is not None and before.explicit else found
        return list(chosen.values())

    def _match(self, part: str) -> Iterator[Selected[T]]:
        entries = {entry.name: entry for entry in self.entries()}
        head, colon, argument = part.partition(":")
        if part in entries and entries[part].argument is None:
            yield entries[part].create(explicit=True)
        elif colon and head in entries and entries[head].argument is not None and argument:
            yield entries[head].create(True, argument)
        else:
            plain = [entry for entry in entries.values() if entry.argument is None]
            matched = [
                entry
                for entry in plain
                if part == "all" or part in entry.groups or fnmatch.fnmatchcase(entry.name, part)
            ]
            if not matched:
                raise UsageError(self._unknown(part))
            yield from (entry.create(explicit=False) for entry in matched)

    def _unknown(self, part: str) -> str:
        names = [f"{entry.name}:{entry.argument}" if entry.argument else entry.name for entry in self.entries()]
        near = difflib.get_close_matches(part, [*names, *self.groups()], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
        return f"there is no {self.noun} '{part}': {hint} (groups: {', '.join(self.groups())})"


backbones: Registry[Backbone] = Registry("backbone", "backbones")
datasets: Registry[Dataset] = Registry("dataset", "datasets")
register_backbone = backbones.register
register_dataset = datasets.register


def load_file(path: Path) -> None:
    """Import one Python file, whose decorators then register what it defines.

    Raises UsageError where the file is missing or does not run.
    """
    if not path.is_file():
        raise UsageError(f"there is no plugin file {path}")
    spec = importlib.util.spec_from_file_location(f"bench_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"the plugin {path} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"the plugin {path} does not run: {type(error).__name__}: {error}") from error


def natural(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts lite2 before lite10, and is the same for one name alone."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", name)], name


def _require_own_package(package: str) -> None:
    spec = importlib.util.find_spec(package)
    places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
    if ROOT / package not in places:
        found = spec.origin if spec else "nowhere"
        raise UsageError(
            f"the Python package '{package}' was found at {found}, not in this checkout: run from the folder "
            f"{ROOT}, or uninstall the other package of that name from this environment"
        )
