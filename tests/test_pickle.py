"""Pickled ground truths: plain ones of every age are read, and no other runs."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.errors import DatasetError
from datasets import _pickle

# what Python 2 wrote for numpy.array([1, 200])
PYTHON2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02U\x01bq\x03\x87q\x04Rq\x05"
    b"(K\x01K\x02\x85q\x06cnumpy\ndtype\nq\x07U\x02i8q\x08K\x00K\x01\x87q\tRq\n(K\x03U\x01<q\x0bNNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tq\x0cb\x89U\x10\x01\0\0\0\0\0\0\0\xc8\0\0\0\0\0\0\0q\rtq\x0eb."
)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol_and_both_numpys_are_read(protocol: int, tmp_path: Path) -> None:
    value = {
        "numbers": [1, 2.5, True, None, 1 << 70, 1j],
        "texts": ("a", "é", b"\x00\xff", bytearray(b"x")),
        "sets": {1, 2} | set(frozenset({3})),
        "arrays": [np.arange(300), np.empty(0), np.array(["x", "yz"]), np.asfortranarray(np.ones((2, 3), np.float32))],
        "scalars": [np.int64(300), np.float32(0.5), np.bool_(True)],
    }
    path = tmp_path / "plain.pkl"
    for old in (False, True) if protocol < 4 else (False,):  # names have a length from protocol 4 on
        written = pickle.dumps(value, protocol)
        path.write_bytes(written.replace(b"numpy._core", b"numpy.core") if old else written)
        assert np.array_equal(path.read_bytes(), written) != old
        read = _pickle.load(path)
        arrays, wanted = read.pop("arrays"), value["arrays"]
        assert read == {key: part for key, part in value.items() if key != "arrays"}
        for array, original in zip(arrays, wanted, strict=True):  # type: ignore[call-overload]
            np.testing.assert_array_equal(array, original, strict=True)
    path.write_bytes(PYTHON2)
    np.testing.assert_array_equal(_pickle.load(path), np.array([1, 200]), strict=True)


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_with_code_is_refused_and_does_not_run(protocol: int, tmp_path: Path) -> None:
    path, touched = tmp_path / "truth.pkl", tmp_path / "touched"
    for harmful, named in (
        (Calls(Path.touch, touched), "asks for "),
        (Calls(eval, f"open({str(touched)!r}, 'w')"), r"asks for (__builtin__|builtins)\.eval, "),
        (Calls(np.save, touched, 1), r"asks for numpy\.save, "),
        (Calls(shutil.copy, path, touched), "asks for "),
    ):
        path.write_bytes(pickle.dumps({"imlist": [harmful]}, protocol))
        with pytest.raises(DatasetError, match=f"{path} {named}.*plain values only") as raised:
            _pickle.load(path)
        assert str(raised.value).count("\n") == 0
        assert not touched.exists() and not touched.with_suffix(".npy").exists()


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", r"numpy\.ndarray\.tofile"),
        (b"c_codecs\nencode\n(Vx\nVrot13\ntR.", "the codec rot13"),
        (b"Pelsewhere\n.", "the outside object 'elsewhere'"),
        (b"\x80\x02]q\x00(K\x01", "no pickle, or a damaged one"),
        (b"", "no pickle, or a damaged one"),
        (b"\x89PNG", "no pickle, or a damaged one"),
        (b"cnumpy\nndarray\n(S'x'\ntR.", "no pickle, or a damaged one"),
    ],
)
def test_other_tricks_and_damage_are_told(written: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(written)
    with pytest.raises(DatasetError, match=named):
        _pickle.load(tmp_path / "x.pkl")
