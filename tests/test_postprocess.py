"""Post-processing against scikit-learn, plain numpy and golden values; its forms, its errors, what it may not see."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score

from bench import evaluate as evaluation
from bench import postprocess
from bench.errors import DescriptorError, UsageError
from bench.evaluate import evaluate
from bench.interfaces import METRICS_OF_KIND, GroundTruth, ImageFile, Split
from bench.metrics import METRICS, Score
from bench.postprocess import FORMS, L2, Center, Pca, Pipeline, ScoreNorm
from bench.similarity import Similarity, top_k

GLOBAL = Similarity()
COPY = METRICS_OF_KIND["copy"]
PER_QUERY = [metric.name for metric in METRICS if metric.unit == "queries with a positive" and metric.name in COPY]

Floats = NDArray[np.float32]


def correlated(seed: int, n: int, d: int = 12) -> Floats:
    """Descriptors whose dimensions depend on each other, around a mean that is not zero."""
    mixing = np.random.default_rng(0).normal(size=(d, d)) * np.linspace(0.3, 2, d)
    return (np.random.default_rng(seed).normal(size=(n, d)) @ mixing + 3).astype(np.float32)


def processed(text: str, background: Floats, vectors: Floats) -> Floats:
    return Pipeline.parse(text).fit(background).apply(vectors)


def unit(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return x / np.sqrt((x * x).sum(axis=1, keepdims=True))


# --- forms


@pytest.mark.parametrize(
    ("text", "pipeline"),
    [
        ("", Pipeline()),
        ("l2", Pipeline((L2(),))),
        ("pcaw512,l2", Pipeline((Pca(512, whiten=True), L2()))),
        ("l2,center,pca8", Pipeline((L2(), Center(), Pca(8, whiten=False)))),
        ("sn1.0[0,2]", Pipeline((), ScoreNorm(1.0, 0, 2))),
        ("pcaw64,l2,sn0.25[1,10]", Pipeline((Pca(64, whiten=True), L2()), ScoreNorm(0.25, 1, 10))),
    ],
)
def test_a_pipeline_prints_as_it_is_written(text: str, pipeline: Pipeline) -> None:
    assert Pipeline.parse(text) == pipeline
    assert str(pipeline) == text


projections = st.builds(Pca, st.integers(1, 99999), whiten=st.booleans())
ranks = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)).map(sorted)
norms = st.builds(lambda beta, of: ScoreNorm(beta, *of), st.floats(0, 1e8), ranks)
pipelines = st.builds(
    Pipeline,
    st.lists(st.one_of(st.just(L2()), st.just(Center()), projections), max_size=6).map(tuple),
    st.none() | norms,
)


@given(pipelines)
def test_what_is_printed_parses_to_the_same(pipeline: Pipeline) -> None:
    assert Pipeline.parse(str(pipeline)) == pipeline
    parts = [*pipeline.steps, *([pipeline.score_norm] if pipeline.score_norm else [])]
    assert Pipeline.parse(" , ".join(map(str, parts))) == pipeline


@pytest.mark.parametrize(
    ("written", "canonical"),
    [("  ", ""), (" l2 , pca4 ", "l2,pca4"), ("sn1[0,2]", "sn1.0[0,2]"), ("sn0.50[00,02]", "sn0.5[0,2]")],
)
def test_one_pipeline_has_one_text(written: str, canonical: str) -> None:
    assert str(Pipeline.parse(written)) == canonical


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("whiten", "whiten"),
        ("l2,pca", "pca"),
        ("pca0", "pca0"),
        ("pcaw-3,l2", "pcaw-3"),
        ("PCA8", "PCA8"),
        ("l2,,center", ""),
        ("l2,", ""),
        ("pca٣", "pca٣"),
        ("l2,sn1.0", "sn1.0"),
        ("sn-1.0[0,2]", "sn-1.0[0,2]"),
        ("sn1e3[0,2]", "sn1e3[0,2]"),
        ("sn1.0[0,2", "sn1.0[0"),
        ("sn1.0[-1,2]", "sn1.0[-1,2]"),
        ("sn1.0[0,2,4]", "sn1.0[0,2,4]"),
    ],
)
def test_an_unknown_step_is_named_with_the_known_forms(text: str, step: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"no post-processing step '{step}': write {', '.join(FORMS)}")):
        Pipeline.parse(text)


@pytest.mark.parametrize("text", ["sn1.0[0,2],l2", "sn1.0[0,2],sn1.0[0,2]", "l2,sn1.0[0,2],pca4,sn2.0[0,1]"])
def test_score_normalisation_stands_last_and_once(text: str) -> None:
    with pytest.raises(UsageError, match=r"sn1\.0\[0,2\] in .* write it last and once"):
        Pipeline.parse(text)


def test_ranks_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(UsageError, match=r"sn1\.0\[3,2\] averages no rank"):
        Pipeline.parse("sn1.0[3,2]")


@pytest.mark.parametrize(
    ("text", "needed"),
    [("", False), ("l2", False), ("center", True), ("pca2", True), ("l2,pcaw2", True), ("l2,sn1.0[0,0]", True)],
)
def test_what_is_fitted_needs_a_background(text: str, needed: bool) -> None:
    pipeline = Pipeline.parse(text)
    assert pipeline.needs_background is needed
    if needed:
        for nothing in (None, np.empty((0, 4), np.float32)):
            with pytest.raises(DescriptorError, match="fitted on background images, but there are none"):
                pipeline.fit(nothing)
    else:
        assert pipeline.fit(None).apply(correlated(1, 5)).shape == (5, 12)


def test_the_dimension_is_that_of_the_last_projection() -> None:
    assert Pipeline.parse("l2,center").dimension(512) == 512
    assert Pipeline.parse("pca256,l2,pcaw64,sn1.0[0,2]").dimension(512) == 64
    assert Pipeline.parse("pca512").dimension(512) == 512
    for text, step in [("pca513", "pca513 keeps 513 dimensions of 512"), ("pca64,l2,pcaw65", "pcaw65 .* of 64")]:
        with pytest.raises(UsageError, match=step):
            Pipeline.parse(text).dimension(512)
    with pytest.raises(UsageError, match="pca13 keeps 13 dimensions of 12"):
        Pipeline.parse("pca13").fit(correlated(1, 40))


def test_a_record_tells_the_last_projection_and_the_norm() -> None:
    assert Pipeline().described() == {"spec": "", "pca_dim": None, "whiten": False, "score_norm": None}
    assert Pipeline.parse("pcaw64,pca32,l2,sn1[0,2]").described() == {
        "spec": "pcaw64,pca32,l2,sn1.0[0,2]",
        "pca_dim": 32,
        "whiten": True,
        "score_norm": "sn1.0[0,2]",
    }


# --- steps


@pytest.mark.parametrize("kept", [1, 5, 12])
@pytest.mark.parametrize("whiten", [False, True])
def test_projections_are_those_of_scikit_learn_up_to_sign(kept: int, whiten: bool) -> None:
    background, others = correlated(1, 200), correlated(2, 30)
    theirs = PCA(kept, whiten=whiten, svd_solver="full").fit(background.astype(np.float64)).transform(others)
    ours = processed(str(Pca(kept, whiten)), background, others)
    assert ours.dtype == np.float32 and ours.shape == (30, kept)
    signs = np.sign((ours * theirs).sum(axis=0))
    assert np.allclose(ours * signs, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("whiten", [False, True])
def test_the_largest_entry_of_each_axis_is_positive(whiten: bool) -> None:
    background = correlated(3, 100)
    fitted = Pipeline((Pca(12, whiten),)).fit(background)
    axes = fitted.apply(np.eye(12, dtype=np.float32)) - fitted.apply(np.zeros((1, 12), np.float32))
    assert (axes[np.abs(axes).argmax(axis=0), np.arange(12)] > 0).all()
    flipped = Pipeline((Pca(12, whiten),)).fit(background[::-1])
    assert np.allclose(fitted.apply(background), flipped.apply(background), atol=1e-4)


@pytest.mark.parametrize("text", ["pcaw12", "pcaw4", "l2,pcaw8", "center,pca9,pcaw3"])
def test_whitening_makes_the_covariance_of_what_it_is_fitted_on_the_identity(text: str) -> None:
    background = correlated(4, 300)
    white = processed(text, background, background).astype(np.float64)
    assert np.allclose(np.cov(white.T), np.eye(white.shape[1]), atol=1e-5)
    assert np.allclose(white.mean(axis=0), 0, atol=1e-6)


def test_center_then_l2_and_their_order() -> None:
    background, others = correlated(5, 50), correlated(6, 20)
    mean = background.astype(np.float64).mean(axis=0)
    assert np.allclose(processed("center,l2", background, others), unit(others - mean), atol=1e-6)
    of_units = unit(background.astype(np.float64)).mean(axis=0)
    assert np.allclose(processed("l2,center", background, others), unit(others) - of_units, atol=1e-6)


def test_each_step_is_fitted_on_what_the_steps_before_it_make() -> None:
    background, others = correlated(7, 80), correlated(8, 10)
    centred = (unit(background.astype(np.float64)), unit(others.astype(np.float64)))
    theirs = unit(PCA(6, whiten=True, svd_solver="full").fit(centred[0]).transform(centred[1]))
    ours = processed("l2,pcaw6,l2", background, others)
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-5)
    assert not np.allclose(np.abs(processed("pcaw6,l2", background, others)), np.abs(theirs), atol=1e-2)


@pytest.mark.parametrize("text", ["center", "pca12", "pcaw12"])
def test_only_the_background_is_seen(text: str) -> None:
    background, others = correlated(9, 60), correlated(10, 25) + 7
    fitted = Pipeline.parse(text).fit(background)
    alone = np.concatenate([fitted.apply(others[row : row + 1]) for row in range(25)])
    assert np.allclose(fitted.apply(others), alone, atol=1e-5)
    mean = background.astype(np.float64).mean(axis=0, keepdims=True).astype(np.float32)
    assert np.allclose(fitted.apply(mean), 0, atol=1e-5)
    assert np.abs(fitted.apply(others).mean(axis=0)).max() > 1


def test_no_steps_change_nothing_and_the_arguments_stay_as_they_are() -> None:
    background, others = correlated(11, 40), correlated(12, 9)
    before = background.copy(), others.copy()
    assert np.array_equal(processed("", background, others), before[1])
    processed("l2,center,pcaw3,l2,sn1.0[0,2]", background, others)
    assert np.array_equal(background, before[0]) and np.array_equal(others, before[1])


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    background, others = correlated(13, 700), correlated(14, 501)
    pipeline = Pipeline.parse("l2,center,pcaw7,l2,sn1.0[0,2]")
    fitted = pipeline.fit(background)
    whole = fitted.apply(others)
    offsets = fitted.offsets(whole, GLOBAL)
    for block in (64, 7):
        monkeypatch.setattr(postprocess, "BLOCK", block)
        assert np.array_equal(fitted.apply(others), whole)
        assert np.array_equal(fitted.offsets(whole, GLOBAL), offsets)
        assert np.allclose(pipeline.fit(background).apply(others), whole, atol=1e-6)


# --- errors


@pytest.mark.parametrize("text", ["pca8", "pcaw8", "l2,center,pca8,l2"])
def test_a_projection_needs_more_images_than_it_keeps_dimensions(text: str) -> None:
    with pytest.raises(DescriptorError, match=r"pcaw?8 is fitted on more than 8 background images, but there are 8"):
        Pipeline.parse(text).fit(correlated(1, 8))
    assert processed(text, correlated(1, 9), correlated(2, 3)).shape == (3, 8)


@pytest.mark.parametrize("mean", [0, 1, 100])
def test_whitening_refuses_axes_along_which_nothing_varies(mean: float) -> None:
    rng = np.random.default_rng(15)
    flat = (rng.normal(size=(200, 3)) @ rng.normal(size=(3, 16)) + mean).astype(np.float32)
    with pytest.raises(DescriptorError, match=r"pcaw4 divides .* 4 axes, but the 200 background images vary along 3"):
        Pipeline.parse("pcaw4").fit(flat)
    assert np.allclose(np.cov(processed("pcaw3", flat, flat).T.astype(np.float64)), np.eye(3), atol=1e-4)
    assert processed("pca4", flat, flat).shape == (200, 4)


def test_whitening_refuses_one_image_many_times() -> None:
    same = np.repeat(correlated(1, 1), 50, axis=0)
    with pytest.raises(DescriptorError, match="vary along 0 only"):
        Pipeline.parse("pcaw1").fit(same)


def test_whitening_keeps_axes_of_small_variance() -> None:
    background = (np.random.default_rng(16).normal(size=(100, 6)) * np.logspace(0, -5, 6)).astype(np.float32)
    white = processed("pcaw6", background, background)
    assert np.allclose(np.cov(white.T.astype(np.float64)), np.eye(6), atol=1e-4)


@pytest.mark.parametrize("text", ["l2", "pcaw3,l2", "center"])
def test_what_is_not_finite_is_refused_with_its_row(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocess, "BLOCK", 8)
    good, bad = correlated(1, 30), correlated(2, 30)
    bad[19, 3], bad[27, 0] = np.nan, np.inf
    with pytest.raises(DescriptorError, match="row 19 of the descriptors is not finite"):
        Pipeline.parse(text).fit(good).apply(bad)
    if text != "l2":
        with pytest.raises(DescriptorError, match="row 19 of the background is not finite"):
            Pipeline.parse(text).fit(bad)


def test_a_zero_vector_has_no_direction() -> None:
    background = np.array([[1, 2], [3, 4], [2, 3], [2, 3]], np.float32)
    others = np.array([[1, 2], [2, 3], [0, 0]], np.float32)  # the second is the mean
    assert processed("center", background, others).tolist() == [[-1, -1], [0, 0], [-2, -3]]
    with pytest.raises(DescriptorError, match="row 1 of the descriptors is zero where l2 divides"):
        processed("center,l2", background, others)
    with pytest.raises(DescriptorError, match="row 2 of the descriptors is zero where l2 divides"):
        processed("l2", background, others)
    with pytest.raises(DescriptorError, match="row 2 of the background is zero where l2 divides"):
        Pipeline.parse("center,l2,pca1").fit(background)


def test_what_float32_can_not_hold_is_refused() -> None:
    tiny = np.random.default_rng(17).normal(size=(20, 2)).astype(np.float32) * np.float32(1e-30)
    with pytest.raises(DescriptorError, match=r"row 0 of the descriptors .* grows too large for float32"):
        processed("pcaw2", tiny, np.full((1, 2), 1e30, np.float32))


# --- score normalisation


def test_golden_offsets_and_scores() -> None:
    """Queries 0.7 alike, and vectors with given similarities to both."""
    sine = np.sqrt(1 - 0.7**2)

    def alike(to_first: float, to_second: float) -> list[float]:
        y = (to_second - 0.7 * to_first) / sine
        return [to_first, y, np.sqrt(1 - to_first**2 - y**2)]

    queries = np.array([[1, 0, 0], [0.7, sine, 0]], np.float32)
    database = np.array([alike(0.9, 0.8), alike(0.2, 0.7)], np.float32)
    background = np.array([alike(0.5, 0.7), alike(0.1, 0.6), alike(0.4, 0.6)], np.float32)
    offsets = Pipeline.parse("sn1.0[0,2]").fit(background).offsets(queries, GLOBAL)
    assert offsets is not None and offsets.dtype == np.float32
    assert np.allclose(offsets, [1 / 3, 1.9 / 3], atol=1e-6)

    # with these positives the last of them ends a precision of 1, so its score is the threshold
    for positives, lowest in [([[0], []], 0.566667), ([[0], [0]], 0.166667), ([[0], [0, 1]], 0.066667)]:
        found = evaluate(queries, database, split_of(positives, 2), COPY, GLOBAL, offsets).scores
        assert found["threshold@p90"].value == pytest.approx(lowest, abs=1e-6)
        assert found["recall@p90"].value == 1
    worst = evaluate(queries, database, split_of([[0, 1], [0, 1]], 2), COPY, GLOBAL, offsets).scores
    assert worst["threshold@p90"].value == pytest.approx(-0.133333, abs=1e-6)


@pytest.mark.parametrize("spec", ["global", "chunked@4"])
@pytest.mark.parametrize("norm", ["sn1.0[0,2]", "sn0.5[2,5]", "sn2.0[49,49]"])
def test_offsets_are_means_of_the_cells_own_similarity_after_the_steps(spec: str, norm: str) -> None:
    background, queries = correlated(18, 50), correlated(19, 20)
    similarity, parsed = Similarity.parse(spec), Pipeline.parse(norm).score_norm
    assert parsed is not None
    fitted = Pipeline.parse(f"pcaw8,l2,{norm}").fit(background)
    white, of_queries = processed("pcaw8,l2", background, background), fitted.apply(queries)
    products = np.einsum("qcd,bcd->qbc", *(x.reshape(len(x), similarity.chunks or 1, -1) for x in (of_queries, white)))
    chosen = -np.sort(-products.max(axis=2), axis=1)[:, parsed.first : parsed.last + 1]
    offsets = fitted.offsets(of_queries, similarity)
    assert offsets is not None
    assert np.allclose(offsets, parsed.beta * chosen.mean(axis=1), atol=1e-5)


def test_without_score_normalisation_there_are_no_offsets() -> None:
    assert Pipeline.parse("pcaw4,l2").fit(correlated(1, 30)).offsets(correlated(2, 3, d=4), GLOBAL) is None


def test_score_normalisation_needs_its_ranks_in_the_background() -> None:
    with pytest.raises(DescriptorError, match=r"sn1\.0\[0,2\] needs 3 background images, but there are 2"):
        Pipeline.parse("sn1.0[0,2]").fit(correlated(1, 2))
    assert Pipeline.parse("sn1.0[0,2]").fit(correlated(1, 3)).offsets(correlated(2, 4), GLOBAL) is not None


def test_score_normalisation_refuses_a_background_that_has_no_similarity() -> None:
    background = correlated(1, 6)
    background[4] = 0
    with pytest.raises(DescriptorError, match="row 4 of the background is zero"):
        Pipeline.parse("sn1.0[0,2]").fit(background)
    background[3] = np.nan
    with pytest.raises(DescriptorError, match="row 3 of the background is not finite"):
        Pipeline.parse("sn1.0[0,2]").fit(background)


def split_of(positives: list[list[int]], n_database: int, junk: list[list[int]] | None = None) -> Split:
    """Positives and junk as given; the files are never read."""
    queries = tuple(ImageFile(f"q{i}", Path(f"q{i}")) for i in range(len(positives)))
    database = tuple(ImageFile(f"r{i}", Path(f"r{i}")) for i in range(n_database))
    chosen = [tuple(np.array(of, np.int64) for of in given) for given in (positives, junk or [[] for _ in positives])]
    return Split(queries, database, GroundTruth(*chosen))


@pytest.mark.parametrize("spec", ["global", "chunked@4"])
def test_score_normalisation_changes_pooled_metrics_alone(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of queries, with junk and with queries that have no match; micro-AP against scikit-learn's."""
    monkeypatch.setattr(evaluation, "PAIRS_A_BLOCK", 7 * 60)
    rng, similarity = np.random.default_rng(20), Similarity.parse(spec)
    database, background = correlated(21, 60), correlated(22, 40)
    queries = (database[:20] + 6 * rng.normal(size=(20, 12))).astype(np.float32)
    positives = [[] if row % 3 == 0 else [row, row + 20] for row in range(20)]
    junk = [list(range(40, 40 + row % 4)) for row in range(20)]
    split = split_of(positives, 60, junk)
    offsets = Pipeline.parse("sn1.0[0,2]").fit(background).offsets(queries, similarity)
    assert offsets is not None
    plain, shifted = (evaluate(queries, database, split, COPY, similarity, given).scores for given in (None, offsets))
    assert {name: plain[name] for name in PER_QUERY} == {name: shifted[name] for name in PER_QUERY}
    for found, subtracted in ((plain, np.zeros(20)), (shifted, offsets)):
        assert found["micro_ap"] == Score(pytest.approx(micro_ap(queries, database, split, similarity, subtracted)), 20)
    assert abs(plain["micro_ap"].value - shifted["micro_ap"].value) > 0.01  # type: ignore[operator]


def micro_ap(
    queries: Floats, database: Floats, split: Split, similarity: Similarity, offsets: NDArray[np.floating]
) -> float:
    found = top_k(queries, database, len(database), similarity)
    scores, labels = [], []
    for row, ranked in enumerate(found.indices):
        for column, score in zip(ranked, found.scores[row], strict=True):
            if column not in split.ground_truth.junk[row]:
                scores.append(float(score) - float(offsets[row]))
                labels.append(column in split.ground_truth.positives[row])
    return float(average_precision_score(labels, scores))


def test_scores_that_differ_by_the_last_bit_still_differ() -> None:
    close = np.float32(1e-3)
    cosines = np.array([close, np.nextafter(close, np.float32(1))], np.float64)
    database = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    queries = np.array([[1.0, 0.0]], np.float32)
    scores = top_k(queries, database, 2, GLOBAL).scores[0]
    offsets = np.array([0.9], np.float32)
    assert scores[0] > scores[1] and scores[0] - offsets[0] == scores[1] - offsets[0]  # equal in float32
    found = evaluate(queries, database, split_of([[1]], 2), COPY, GLOBAL, offsets).scores
    assert found["map"].value == found["micro_ap"].value == 1
