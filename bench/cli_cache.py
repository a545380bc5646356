"""`cache`: arguments and printing of what looks after the descriptors that are kept."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.cache import Entry
    from bench.store import DescriptorStore

app = typer.Typer(help="Look after the descriptors that are kept.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_() -> None:
    """Show what is kept, the least recently used first."""
    from bench import cache, console

    store = _store()
    rows = [_row(entry) for entry in cache.entries(store)]
    if rows:
        console.print_rows(rows)
    total = sum(int(str(row["bytes"])) for row in rows)
    console.out.print(f"{len(rows)} entries, {total:,} bytes in {store.root}", soft_wrap=True)


@app.command()
def verify() -> None:
    """Check every shard's checksum and name what is lost or damaged."""
    from bench import cache, console

    store = _store()
    wrong = list(cache.problems(store))
    for path, told in wrong:
        console.out.print(f"{path} {told}", soft_wrap=True)
    if wrong:
        raise typer.Exit(3)
    console.out.print(f"{len(cache.entries(store))} entries, every shard as it was written", soft_wrap=True)


@app.command()
def prune(max_size: Annotated[str, typer.Option(help="What may be left, such as 10GB.")]) -> None:
    """Delete the least recently used until the rest is small enough; never what is being written."""
    from bench import cache, console

    limit = cache.n_bytes(max_size)
    gone, left = cache.prune(_store(), limit)
    for entry in gone:
        console.out.print(f"deleted: {entry.folder.name[:12]}, {entry.n_bytes:,} bytes", soft_wrap=True)
    more = "" if left <= limit else ": the rest is being written by other processes"
    console.out.print(f"{len(gone)} entries deleted, {left:,} bytes left{more}", soft_wrap=True)


def _store() -> "DescriptorStore":
    from bench.paths import home
    from bench.store import DescriptorStore

    return DescriptorStore(home() / "descriptors")


def _row(entry: "Entry") -> dict[str, object]:
    made_from = entry.meta.made_from if entry.meta else {}
    return {
        "name": entry.folder.name[:12],
        "backbone": made_from.get("backbone"),
        "descriptor": made_from.get("descriptor"),
        "images": entry.meta.rows if entry.meta else None,
        "bytes": entry.n_bytes,
        "last used": f"{entry.last_used:%Y-%m-%d %H:%M}",
        "state": "whole" if entry.whole else "unfinished" if entry.meta else "unreadable",
    }
