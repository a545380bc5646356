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
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, ParamSpec, Protocol, TypeVar

from bench.errors import UsageError
from bench.interfaces import Backbone, Dataset, Generator

ROOT = Path(__file__).resolve().parent.parent

_OPTIONS = re.compile(r"(?P<name>.+)\[(?P<options>\s*\w+\s*=[^\[\]]*)\]")


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
    """A registered factory.

    argument: what stands behind the colon of `name:ARGUMENT` where it is free, such as DIR, or None.
    variants: what may stand there where it is not free.
    plain: it is chosen by its name alone, too.
    """

    name: str
    make: Callable[..., T]
    groups: frozenset[str]
    argument: str | None
    variants: tuple[str, ...]
    plain: bool

    @property
    def names(self) -> list[str]:
        """Every name it can be chosen by that has no free argument."""
        return [*([self.name] if self.plain else []), *(f"{self.name}:{variant}" for variant in self.variants)]

    def create(self, explicit: bool, argument: str | None = None) -> Selected[T]:
        """The item, made. Raises UsageError where it calls itself by another name."""
        made = self.make(argument) if argument is not None else self.make()
        expected = self.name if argument is None else f"{self.name}:{argument if self.argument is None else ''}"
        # a dataset that lies elsewhere is still that dataset
        elsewhere = self.argument and self.plain and made.name == self.name
        if not (elsewhere or (made.name.startswith(expected) if self.argument else made.name == expected)):
            raise UsageError(f"the plugin '{self.name}' made an object named '{made.name}', not '{expected}'")
        return Selected(made, explicit, Path(inspect.getfile(self.make)))


class Registry(Generic[T]):
    """Factories by name, filled when it is first asked.

    configure: gives an item the options of `name[option=value]`; without it a bracket is part of the name.
    """

    def __init__(self, noun: str, package: str, configure: Callable[[T, dict[str, str]], T] | None = None) -> None:
        self.noun = noun
        self.package = package
        self._configure = configure
        self._entries: dict[str, Entry[T]] = {}

    def register(
        self, groups: Iterable[str] = ("plugin",), argument: str | None = None, variants: Iterable[str] = ()
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Decorator for a factory function; its name is the plugin's name.

        With `argument` (free: what it stands for) or `variants` (the possible ones), the factory takes what stands
        behind the colon of `name:ARGUMENT`; with variants, or where its parameter has a default, it is also called
        without, for the plain name.
        """

        def keep(factory: Callable[P, T]) -> Callable[P, T]:
            name = factory.__name__
            known = self._entries.get(name)
            if known is not None and known.make.__module__ != factory.__module__:
                raise UsageError(
                    f"the {self.noun} '{name}' is registered twice, by {known.make.__module__} and "
                    f"{factory.__module__}: rename one of them"
                )
            optional = all(p.default is not p.empty for p in inspect.signature(factory).parameters.values())
            plain = argument is None or optional
            self._entries[name] = Entry(name, factory, frozenset(groups), argument, tuple(variants), plain)
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

    def members(self, group: str) -> list[str]:
        """Names of those registered under a group, in their natural order."""
        return sorted((entry.name for entry in self.entries() if group in entry.groups), key=natural)

    def groups(self) -> list[str]:
        """Names that stand for several plugins."""
        return sorted({"all"}.union(*(entry.groups for entry in self.entries())))

    def select(self, selection: str) -> list[Selected[T]]:
        """The items of a comma-separated selection of names, groups and glob patterns, each once.

        Raises UsageError, with the nearest names, where a part matches nothing.
        """
        parts = [part.strip() for part in _split(selection) if part.strip()]
        if not parts:
            raise UsageError(f"no {self.noun} was chosen: name some, or a group ({', '.join(self.groups())})")
        chosen: dict[str, Selected[T]] = {}
        written: dict[str, str | None] = {}
        for part in parts:
            head, options = self._options(part)
            for found, argument in self._match(head):
                item = self._configured(found, options)
                name = item.item.name
                if written.setdefault(name, argument) != argument:
                    places = " and ".join(place or "its usual place" for place in (written[name], argument))
                    raise UsageError(f"{places} would share the name {name}: rename one, or run them apart")
                before = chosen.get(name)
                chosen[name] = before if before is not None and before.explicit else item
        return list(chosen.values())

    def _options(self, part: str) -> tuple[str, dict[str, str]]:
        """`name[key=value,...]` as name and options."""
        match = _OPTIONS.fullmatch(part) if self._configure else None
        if match is None:
            return part, {}
        pairs = [option.partition("=") for option in match["options"].split(",")]
        options = {key.strip(): value.strip() for key, _, value in pairs}
        if len(options) < len(pairs) or not all(options.values()):
            raise UsageError(f"the options in '{part}' are not of the form [name=value,...], each name once")
        return match["name"], options

    def _configured(self, found: Selected[T], options: dict[str, str]) -> Selected[T]:
        return replace(found, item=self._configure(found.item, options)) if self._configure and options else found

    def _match(self, part: str) -> Iterator[tuple[Selected[T], str | None]]:
        """What a part means, each with the free argument that it was made of."""
        entries = {entry.name: entry for entry in self.entries()}
        head, colon, argument = part.partition(":")
        entry = entries.get(head)
        if entry and entry.argument is not None and argument:
            yield entry.create(True, argument), argument
        elif entry and part in entry.names:
            yield entry.create(True, argument if colon else None), None
        else:
            matched = [
                (entry, name.partition(":")[2] or None)
                for entry in entries.values()
                for name in entry.names
                # the variants are for patterns that ask for them by a colon
                if (":" in part or ":" not in name)
                and (part == "all" or part in entry.groups or fnmatch.fnmatchcase(name, part))
            ]
            if not matched:
                raise UsageError(self._unknown(part))
            yield from ((entry.create(False, variant), None) for entry, variant in matched)

    def _unknown(self, part: str) -> str:
        names = [name for entry in self.entries() for name in (entry.names or [f"{entry.name}:{entry.argument}"])]
        near = difflib.get_close_matches(part, [*names, *self.groups()], n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
        return f"there is no {self.noun} '{part}': {hint} (groups: {', '.join(self.groups())})"


backbones: Registry[Backbone] = Registry("backbone", "backbones", lambda item, options: item.configured(options))
datasets: Registry[Dataset] = Registry("dataset", "datasets")
generators: Registry[Generator] = Registry("kind of synthetic copies", "datasets")
register_backbone = backbones.register
register_dataset = datasets.register
register_generator = generators.register


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


def _split(selection: str) -> list[str]:
    """At the commas that are not inside brackets."""
    return re.split(r",(?![^\[\]]*\])", selection)


def _require_own_package(package: str) -> None:
    spec = importlib.util.find_spec(package)
    places = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
    if ROOT / package not in places:
        found = spec.origin if spec else "nowhere"
        raise UsageError(
            f"the Python package '{package}' was found at {found}, not in this checkout: run from the folder "
            f"{ROOT}, or uninstall the other package of that name from this environment"
        )
