"""Search by a device's own products: the same scores and indices as the host's, bit for bit.

What the device does is torch code that runs on any device: it is tested on the host, and on a GPU where there is one.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import DescriptorError
from bench.similarity import Similarity, device, search, top_k

SPECS = ["global", "global[norm=none]", "chunked@8", "chunked@16[norm=chunk]", "chunked@tokens", "cross@tokens/2x2"]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]


def vectors(spec: str, n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, *((9, 8) if "tokens" in spec else (64,)), generator=generator)


@pytest.mark.parametrize("on", DEVICES)
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_same_as_on_the_host(spec: str, dtype: torch.dtype, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "PRODUCTS", 37 * 100)
    similarity = Similarity.parse(spec)
    q, x = vectors(spec, 37, 1).to(dtype), vectors(spec, 400, 2).to(dtype)
    expected = top_k(q, x, 7, similarity)
    rows, sure = device.candidates(q.to(on), x.to(on), 7, similarity)
    assert rows.shape == (37, 7 + device.SPARE) and sure.all()
    found = search._by_device(q.to(on), x.to(on), 7, similarity)
    assert np.array_equal(found.scores, expected.scores) and np.array_equal(found.indices, expected.indices)


@pytest.mark.parametrize("on", DEVICES)
@pytest.mark.parametrize("spec", ["global", "chunked@8", "chunked@8[norm=chunk]", "chunked@8[norm=none]"])
def test_norms_that_float32_squares_lose(spec: str, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "PRODUCTS", 37 * 100)
    similarity = Similarity.parse(spec)
    q, x = vectors("global", 37, 9), vectors("global", 400, 10)
    x[::3, 8:24] = 0
    if similarity.norm != "none":
        x[5], x[120], q[3], x[250, :8] = x[5] * 1e-21, x[120] * 1e25, q[3] * 1e-30, x[250, :8] * 1e-25
    expected = top_k(q, x, 7, similarity)
    found = search._by_device(q.to(on), x.to(on), 7, similarity)
    assert np.array_equal(found.scores, expected.scores) and np.array_equal(found.indices, expected.indices)


@pytest.mark.parametrize("on", DEVICES)
@pytest.mark.parametrize(("value", "told"), [(torch.nan, "not finite"), (0.0, "zero")])
def test_a_bad_row_is_named_as_on_the_host(value: float, told: str, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "PRODUCTS", 5 * 100)
    q, x = vectors("global", 5, 11), vectors("global", 400, 12)
    x[251] = value
    with pytest.raises(DescriptorError, match=f"row 251 of the database is {told}"):
        search._by_device(q.to(on), x.to(on), 7, Similarity(8))


@pytest.mark.parametrize("on", DEVICES)
def test_what_a_device_cannot_tell_apart_is_searched_by_the_host(on: str) -> None:
    q, x = vectors("global", 5, 3), vectors("global", 300, 4)
    x[100:250] = q[2]  # more ties than there are candidates to spare
    _, sure = device.candidates(q.to(on), x.to(on), 20, Similarity())
    assert sure.tolist() == [True, True, False, True, True]
    found = search._by_device(q.to(on), x.to(on), 20, Similarity())
    assert found.indices[2].tolist() == list(range(100, 120))
    assert np.array_equal(found.indices, top_k(q, x, 20, Similarity()).indices)


def test_a_small_database_is_a_candidate_as_a_whole() -> None:
    q, x = vectors("global", 3, 5), vectors("global", 10, 6)
    x[:] = x[0]
    rows, sure = device.candidates(q, x, 10, Similarity())
    assert sure.all() and np.array_equal(np.sort(rows), np.tile(np.arange(10), (3, 1)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_tensors_on_a_gpu_are_searched_there() -> None:
    q, x = vectors("global", 37, 7), vectors("global", 4000, 8)
    found, expected = top_k(q.cuda(), x.cuda(), 20, Similarity(4)), top_k(q, x, 20, Similarity(4))
    assert np.array_equal(found.scores, expected.scores) and np.array_equal(found.indices, expected.indices)
