"""`search`: arguments and printing of a search of descriptors in descriptors."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from bench.similarity.approximate import Factory

FLAT, FAISS = "flat", "faiss:"


def search(
    queries: Annotated[
        str, typer.Option(help="Descriptors: .npy, .parquet[#COLUMN], a folder of them, or of img_emb and metadata.")
    ],
    database: Annotated[str, typer.Option(help="Descriptors to search in, in the same forms; may exceed memory.")],
    output: Annotated[Path, typer.Option(help="New .parquet or .csv file; a .json beside it tells how it was made.")],
    similarity: Annotated[str, typer.Option(help="One; see `list similarities`.")] = "global",
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="How many of the database for each query.")] = 20,
    index: Annotated[
        str, typer.Option(help="flat: exact; faiss:FACTORY[:PARAMETER=VALUE,...]: approximate, and judged.")
    ] = FLAT,
    engine: Annotated[str, typer.Option(help="What searches: local, ray or ray:HOST:PORT.")] = "local",
    seed: Annotated[int, typer.Option(help="Seed of the samples that train and judge an approximate index.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a descriptor that is zero or not finite.")] = False,
) -> None:
    """Find the most similar of a database for each query, both descriptors on disk."""
    from bench import console
    from bench import search as searching
    from bench.data.unreadable import require_none, sentences, write_left_out
    from bench.descriptors.usable import Usable, reopened
    from bench.engines import Engine
    from bench.similarity import Similarity
    from bench.vectors import open_vectors

    parsed, factory, works = Similarity.parse(similarity), _factory(index), Engine.parse(engine)
    if factory and works.on_ray:
        raise UsageError(
            f"--index {index} is searched by one machine: leave out --engine {engine}, or take --index flat"
        )
    searching.require_writable(output)
    asking, among = (Usable.of(open_vectors(name), parsed) for name in (queries, database))
    left_out = {"queries": asking.left_out, "database": among.left_out}
    for side, of in left_out.items():
        require_none({name: f"{why} in the {side}" for name, why in of.unreadable.items()}, strict)
    what = {
        "queries": queries,
        "database": database,
        "similarity": str(parsed),
        "top_k": top_k,
        "index": index,
        "engine": engine,
        "queries_shape": asking.vectors.shape,
        "database_shape": among.vectors.shape,
        "unreadable": {side: len(of.unreadable) for side, of in left_out.items()},
        "seed": seed,
    }
    try:
        with works.connected() as cluster, console.counting("rows") as progress:
            if cluster:
                where = str(Path(database).absolute())  # workers stand elsewhere
                opening = partial(reopened, where, among.rows if among.unusable else None)
                outcome = searching.exact_on(cluster, asking, opening, parsed, top_k, progress)
            elif factory:
                outcome = searching.approximate(asking, among, parsed, top_k, factory, seed)
            else:
                outcome = searching.exact(asking, among, parsed, top_k)
        searching.write(output, outcome, asking, among, what)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was kept") from None
    lines = [f"top {top_k} of {len(among.rows):,} by {parsed} for {len(asking.rows):,} queries, {index}"]
    lines.append(f"search: {outcome.speed.per_second:,.1f} queries/s")
    if judged := outcome.judged:
        sample = f"{judged.exact.queries:,} of {len(asking.rows):,} queries, seed {seed}"
        lines.append(f"exact search: {judged.exact.per_second:,.1f} queries/s; index built in {judged.build_s:,.2f} s")
        lines.append(f"recall@{top_k}: {judged.recall:.4f} ({sample})")
        if judged.short:
            lines.append(f"fewer than {top_k} were found for {judged.short:,} queries")
    lists = write_left_out(output.parent, left_out, f"{output.stem}.")
    lines += (line for side, of in left_out.items() for line in sentences(side, of))
    written = output, searching.report_file(output), *lists
    for line in [*lines, f"written: {', '.join(map(str, written))}"]:
        console.out.print(line, soft_wrap=True)


def _factory(index: str) -> "Factory | None":
    """None for an exact search. Raises UsageError for what is neither that nor an index of faiss."""
    from bench.similarity.approximate import Factory

    if index == FLAT:
        return None
    if not index.startswith(FAISS):
        raise UsageError(f"there is no index '{index}': write {FLAT} or {FAISS}FACTORY, such as faiss:IVF256,Flat")
    return Factory.parse(index.removeprefix(FAISS))
