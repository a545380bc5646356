"""Pickled ground truths, read without trusting them: a pickle is a program, and of it only what makes values runs."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DatasetError


def load(path: Path) -> Any:
    """The value of a pickle of protocol 0 to 5 made of Python's own containers, numbers and strings and numpy arrays.

    Strings of Python 2 are read as Latin-1. Nothing else that the file names is imported or called. Raises
    DatasetError where it is missing, damaged, or asks for anything else.
    """
    try:
        with path.open("rb") as stream:
            return _Plain(stream, encoding="latin1").load()
    except FileNotFoundError as error:
        raise DatasetError(f"there is no ground truth {path}") from error
    except _Refused as error:
        raise DatasetError(
            f"{path} asks for {error}, and a ground truth holds plain values only: get it again from its publisher"
        ) from error
    except Exception as error:  # a damaged pickle may raise anything
        raise DatasetError(
            f"{path} is no pickle, or a damaged one ({type(error).__name__}: {error}): get it again from its publisher"
        ) from error


class _Refused(pickle.UnpicklingError):
    """Names what a pickle asked for."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What a pickle calls `module.name`, out of a closed list."""
        known = _MAKERS.get((_RENAMED.get(module, module), name))
        if known is None:
            raise _Refused(f"{module}.{name}")
        return known

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"the outside object {pid!r}")


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes that Python 2 can read."""
    if encoding != "latin1":
        raise _Refused(f"the codec {encoding}")
    return text.encode(encoding)


#: Modules under the names they had before.
_RENAMED = {
    "__builtin__": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
}
_ARRAY = np.empty(0)
_MAKERS: dict[tuple[str, str], Any] = {
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytes"): bytes,
    ("builtins", "bytearray"): bytearray,
    ("_codecs", "encode"): _latin1,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # numpy's own private functions, asked from the values that they make
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY.__reduce__()[0],
    ("numpy._core.multiarray", "scalar"): np.float64().__reduce__()[0],
    ("numpy._core.numeric", "_frombuffer"): _ARRAY.__reduce_ex__(5)[0],
}
