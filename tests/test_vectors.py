"""Descriptors on disk: .npy files, parquet files and the layout of clip-retrieval, as their writers make them."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench import vector_files
from bench.descriptors.shard_writer import Writer
from bench.errors import DescriptorError, UsageError
from bench.manifest import Name
from bench.vectors import open_vectors

DTYPES = (np.float16, np.float32, np.float64)


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def save(path: Path, rows: NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)
    return path


def lists(rows: NDArray[Any], kind: str = "list") -> pa.Array:
    values = pa.array(rows.ravel())
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
    offsets = np.arange(0, rows.size + 1, rows.shape[1])
    if kind == "large":
        return pa.LargeListArray.from_arrays(offsets, values)
    return pa.ListArray.from_arrays(offsets.astype(np.int32), values)


def table(path: Path, group: int = 4, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def layout(folder: Path, parts: list[NDArray[Any]]) -> Path:
    """As `clip-retrieval inference` writes it: shards numbered without zeros in front, metadata beside."""
    for number, rows in enumerate(parts):
        save(folder / "img_emb" / f"img_emb_{number}.npy", rows)
        names = [f"{number}/{row}.jpg" for row in range(len(rows))]
        table(folder / "metadata" / f"metadata_{number}.parquet", image_path=names, caption=["a"] * len(rows))
    return folder


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any),
    form=st.sampled_from(["npy", "tokens", "list", "large", "fixed", "layout"]),
    dtype=st.sampled_from(DTYPES),
    window=st.integers(1, 200),
    asked=st.data(),
)
def test_any_rows_are_those_of_the_array(
    sizes: list[int], form: str, dtype: Any, window: int, asked: st.DataObject
) -> None:
    parts = [
        numbers(n, *((2, 3) if form == "tokens" else (6,)), dtype=dtype, seed=seed) for seed, n in enumerate(sizes)
    ]
    expected = np.concatenate(parts)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(vector_files, "WINDOW", window)
        if form == "layout":
            layout(folder, parts)
        for number, rows in enumerate(parts):
            if form in ("npy", "tokens"):
                save(folder / f"{number}.npy", rows)
            elif form != "layout":
                table(folder / f"part-{number:05d}-of-{len(parts):05d}.parquet", v=lists(rows, form))
        found = open_vectors(name)
        n = len(expected)
        assert (len(found), found.shape, found.dtype) == (n, expected.shape, expected.dtype)
        assert np.array_equal(found[0:n], expected)
        first, last = asked.draw(st.integers(-n, n + 2)), asked.draw(st.integers(-n, n + 2))
        step = asked.draw(st.sampled_from([None, 1, 2, -1]))
        assert np.array_equal(found[first:last:step], expected[first:last:step])
        rows = np.array(asked.draw(st.lists(st.integers(-n, n - 1), max_size=12)), np.int64)
        assert np.array_equal(found[rows], expected[rows]) and found[rows].dtype == dtype
        for beyond in (n, -n - 1):
            with pytest.raises(IndexError):
                found[np.array([beyond])]
        if form == "layout":
            names = [f"{number}/{row}.jpg" for number, size in enumerate(sizes) for row in range(size)]
            assert found.ids is not None and list(found.ids[rows]) == [names[row] for row in rows]
        else:
            assert found.ids is None


def test_shards_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    parts = [np.full((2, 3), number, np.float32) for number in range(12)]
    found = open_vectors(str(layout(tmp_path, parts)))
    assert np.array_equal(found[:], np.concatenate(parts))
    assert found.ids is not None and found.ids[20:22].tolist() == ["10/0.jpg", "10/1.jpg"]
    folder = open_vectors(str(tmp_path / "img_emb"))
    assert np.array_equal(folder[:], np.concatenate(parts)) and folder.ids is None


def test_shards_of_several_types_are_read_as_the_widest(tmp_path: Path) -> None:
    save(tmp_path / "x_0.npy", half := numbers(3, 4, dtype=np.float16))
    save(tmp_path / "x_1.npy", single := numbers(2, 4, dtype=">f4"))
    found = open_vectors(str(tmp_path))
    assert found.dtype == np.float32
    assert np.array_equal(found[:], np.concatenate([half.astype(np.float32), single]))
    assert found[0:2].dtype == np.float32 and np.array_equal(found[0:2], half[:2])


def test_a_column_is_named_or_the_only_one_and_ids_are_beside_it(tmp_path: Path) -> None:
    a, b = numbers(9, 4), numbers(9, 5, seed=1)
    keys = [7 * row for row in range(9)]
    path = table(tmp_path / "two#odd.parquet", key=keys, a=lists(a), b=lists(b, "fixed"), n=lists(a.astype(int)))
    assert np.array_equal(open_vectors(f"{path}#a")[:], a)
    found = open_vectors(f"{path}#b")
    assert np.array_equal(found[:], b) and found.ids is not None and list(found.ids[3:6]) == ["21", "28", "35"]
    with pytest.raises(DescriptorError, match=r"several columns of descriptors \(a, b\).*#COLUMN"):
        open_vectors(str(path))
    with pytest.raises(DescriptorError, match="has no column 'c': it has key, a, b, n"):
        open_vectors(f"{path}#c")
    with pytest.raises(DescriptorError, match=r"the column n of .* is list<.*int64>"):
        open_vectors(f"{path}#n")
    save(tmp_path / "x.npy", a)
    assert np.array_equal(open_vectors(f"{tmp_path}#a")[:], a)
    with pytest.raises(UsageError, match="name one file"):
        open_vectors(str(tmp_path))


def test_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged row group harms only those who ask for it, and a group read in steps is read once."""
    rows = numbers(40, 64)
    path = table(tmp_path / "x.parquet", group=10, v=lists(rows))
    column = pq.ParquetFile(path).metadata.row_group(2).column(0)
    data = bytearray(path.read_bytes())
    begin = column.dictionary_page_offset or column.data_page_offset
    data[begin : begin + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    found = open_vectors(str(path))
    asked = np.array([39, 0, 19, 0])
    assert np.array_equal(found[asked], rows[asked]) and np.array_equal(found[5:20], rows[5:20])
    with pytest.raises(DescriptorError, match="row group 2, can't be read"):
        found[np.array([20])]
    read: list[int] = []
    real = vector_files._row_group
    monkeypatch.setattr(vector_files, "_row_group", lambda *of: (read.append(of[-1]), real(*of))[1])
    again = open_vectors(str(path))
    for first in range(0, 20, 2):
        assert np.array_equal(again[first : first + 2], rows[first : first + 2])
    assert read == [0, 1]


def cut(path: Path, n: int = 3) -> Path:
    path.write_bytes(path.read_bytes()[:-n])
    return path


X = numbers(6, 4)


def mixed(folder: Path) -> Path:
    save(folder / "e_0.npy", X)
    save(folder / "e_1.npy", numbers(6, 5))
    return folder


def lost(folder: Path) -> Path:
    layout(folder, [X, X, X])
    for name in ("img_emb/img_emb_1.npy", "metadata/metadata_1.parquet"):
        (folder / name).unlink()
    return folder


def without(folder: Path, name: str) -> Path:
    (layout(folder, [X, X]) / name).unlink()
    return folder


def other_metadata(folder: Path) -> Path:
    table(layout(folder, [X, X]) / "metadata" / "metadata_1.parquet", image_path=["one"])
    return folder


def pickled(path: Path) -> Path:
    np.save(path, np.array([X, None], object), allow_pickle=True)
    return path


def text(path: Path) -> Path:
    path.write_text("no descriptors")
    return path


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "mixed": (mixed, r"e_1.npy has descriptors of 5 dimensions, but .*e_0.npy of 4"),
    "cut npy": (lambda p: cut(save(p / "x.npy", X)), r"x.npy is cut short: it has 221 bytes, and .* 224"),
    "cut header": (lambda p: cut(save(p / "x.npy", X), 190), "x.npy is no .npy file"),
    "cut parquet": (lambda p: cut(table(p / "x.parquet", v=lists(X))), "x.parquet is no whole parquet file"),
    "object": (lambda p: pickled(p / "x.npy"), "x.npy is of dtype object"),
    "integers": (lambda p: save(p / "x.npy", X.astype(int)), "x.npy is of dtype int64"),
    "vector": (lambda p: save(p / "x.npy", X[0]), r"x.npy has shape \(4,\)"),
    "by column": (lambda p: save(p / "x.npy", np.asfortranarray(X)), "x.npy is stored column by column"),
    "empty npy": (lambda p: save(p / "x.npy", X[:0]), "x.npy holds no descriptors"),
    "empty parquet": (lambda p: table(p / "x.parquet", v=lists(X).slice(0, 0)), "x.parquet holds no descriptors"),
    "no column": (lambda p: table(p / "x.parquet", id=["a"]), "x.parquet has no column of descriptors"),
    "lost": (lost, r"img_emb lacks the shard img_emb_1, though it has others up to img_emb_2"),
    "lost at the front": (
        lambda p: save(save(p / "x_2.npy", X).with_name("x_3.npy"), X).parent,
        "lacks the shard x_1, though it has others up to x_3: .*; if these are no shards, name the file itself",
    ),
    "a number that counts nothing": (
        lambda p: save(p / "d" / "made_2024.npy", X).parent,
        "d lacks the shard made_1, .* name the file itself",
    ),
    "lost of five": (
        lambda p: table(p / "d" / "t-00000-of-00002.parquet", v=lists(X)).parent,
        "d lacks the shard t-1",
    ),
    "lost first": (
        lambda p: table(p / "d" / "t-00001-of-00002.parquet", v=lists(X)).parent,
        "d lacks the shard t-0",
    ),
    "no embedding": (
        lambda p: without(p, "img_emb/img_emb_1.npy"),
        "img_emb lacks the shard that belongs to .*metadata_1.parquet",
    ),
    "no metadata": (
        lambda p: without(p, "metadata/metadata_1.parquet"),
        "metadata lacks the shard that belongs to .*img_emb_1.npy",
    ),
    "rows": (other_metadata, r"img_emb_1.npy has 6 rows, but .*metadata_1.parquet 1"),
    "no shards": (lambda p: without(p / "x", "img_emb/img_emb_0.npy").parent / "x", "img_emb lacks the shard"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_descriptors_is_told_in_a_sentence(name: str, tmp_path: Path) -> None:
    make, sentence = BAD[name]
    path = make(tmp_path)
    with pytest.raises(DescriptorError, match=sentence) as told:
        open_vectors(str(path))
    assert "\n" not in str(told.value)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two shards as `bench embed` writes them."""
    monkeypatch.setattr("bench.descriptors.shard_writer.FIRST_BYTES", 1)
    names = [Name(f"{part}{row}", f"content of {part}{row}") for part in "ab" for row in range(6)]
    with Writer(tmp_path, {"backbone": "any"}, names) as writer:
        for first in (0, 6):
            writer.append(X, names[first : first + 6])
        writer.finish()
    return tmp_path


def test_a_folder_that_is_not_whole_by_its_own_account(written: Path) -> None:
    assert np.array_equal(open_vectors(str(written))[:], np.concatenate([X, X]))
    for name in ("img_emb/img_emb_0001.npy", "metadata/metadata_0001.parquet"):
        (written / name).unlink()
    with pytest.raises(DescriptorError, match=r"has 6 descriptors, but its meta.json says 12: a shard is lost"):
        open_vectors(str(written))
    (written / "meta.json").rename(written / "partial.json")
    with pytest.raises(DescriptorError, match="is not finished"):
        open_vectors(str(written))


@pytest.mark.parametrize("name", ["img_emb/img_emb_0001.npy", "metadata/metadata_0000.parquet"])
def test_a_byte_that_is_not_what_was_written_is_found(name: str, written: Path) -> None:
    spoiled = bytearray((written / name).read_bytes())
    spoiled[len(spoiled) // 2 if name.endswith("parquet") else -2] ^= 1  # where the headers of both stay
    (written / name).write_bytes(spoiled)
    with pytest.raises(DescriptorError, match=f"{name} is not what .*meta.json says was written: run the command"):
        open_vectors(str(written))
    assert len(open_vectors(str(written), verify=False)) == 12


@pytest.mark.parametrize("first", [0, 1])
def test_shards_are_counted_from_zero_or_one(first: int, tmp_path: Path) -> None:
    for number in range(first, first + 11):
        save(tmp_path / f"x_{number}.npy", X)
    assert len(open_vectors(str(tmp_path))) == 66


@pytest.mark.parametrize("name", ["made_2024.npy", "x-00001-of-00002.npy"])
def test_a_file_named_itself_is_no_series(name: str, tmp_path: Path) -> None:
    assert np.array_equal(open_vectors(str(save(tmp_path / name, X)))[:], X)


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ([[1.0, 2], [3, 4], [5], [6, 7]], "holds a list of 1 numbers where others have 2: .* row 2"),
        ([[1.0, 2], None, [5, 6]], "holds no list where others have 2: .* row 1"),
        ([[1.0, 2], [5, None]], "holds lists with missing numbers"),
    ],
)
def test_uneven_lists_are_told_when_they_are_read(column: list[Any], sentence: str, tmp_path: Path) -> None:
    path = table(tmp_path / "x.parquet", v=column)
    with pytest.raises(DescriptorError, match=f"the column v of .*x.parquet, row group 0, {sentence}"):
        open_vectors(str(path))[:]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("none.npy", "there is no .*none.npy"),
        ("none.npy#v", "there is no .*none.npy"),
        ("x.txt", "x.txt is no .npy or .parquet file"),
        ("empty", "empty is no .npy or .parquet file, and no folder that holds some"),
        ("x.npy#v", "a .npy file has none: leave out #v"),
    ],
)
def test_what_is_no_database_is_a_wrong_call(spec: str, sentence: str, tmp_path: Path) -> None:
    text(tmp_path / "x.txt")
    (tmp_path / "empty").mkdir()
    save(tmp_path / "x.npy", X)
    with pytest.raises(UsageError, match=sentence):
        open_vectors(str(tmp_path / spec))


@pytest.mark.parametrize("spec", ["", " ", "#v"])
def test_an_empty_name_is_not_the_working_folder(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "x.npy", X)
    table(tmp_path / "x.parquet", v=lists(X))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the name of the descriptors is empty: name a"):
        open_vectors(spec)
    assert np.array_equal(open_vectors(".#v")[:], X)
