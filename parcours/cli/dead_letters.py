"""`parcours dead-letters`."""

from __future__ import annotations

from typing import Annotated

import typer

from parcours.cli.session import Session, session
from parcours.db.tables import events as events_table
from parcours.domain.errors import NotFoundError
from parcours.domain.time.text import iso
from parcours.services import dead_letters

app = typer.Typer(no_args_is_help=True, help="List, show, replay and discard messages that could not be processed.")

Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID…]", help="Numbers printed by `list`.")]
All = Annotated[bool, typer.Option("--all", help="Select all.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of lines.")] = 100, as_json: Json = False
) -> None:
    """List dead letters, newest first."""
    here = session()
    with here.engine.connect() as conn:
        found = events_table.dead_letters(conn, limit=limit)
    if as_json:
        here.print_json([{**each._asdict(), "at": iso(each.at)} for each in found])
    else:
        here.print_table("", ("id", "at", "origin", "reason"), [(str(e.id), e.at, e.origin, e.reason) for e in found])


@app.command()
def show(number: Annotated[int, typer.Argument(metavar="ID", help="Number printed by `list`.")]) -> None:
    """Show a dead letter with its original body."""
    here = session()
    with here.engine.connect() as conn:
        found = events_table.dead_letters(conn, id_=number)
    if not found:
        raise NotFoundError("dead letter", str(number), "run `parcours dead-letters list` to see the numbers")
    here.say(f"{here.time(found[0].at)} {found[0].origin}: {found[0].reason}")
    typer.echo(found[0].body)


@app.command()
def replay(ids: Ids = None, all_: All = False) -> None:
    """Process dead letters again, with all effects. Those that fail again stay, with the new reason."""
    here = session()
    done = dead_letters.replay(here.engine, here.settings, _chosen(ids, all_), begin=here.begin)
    said = [f"{done.accepted:,} accepted"]
    if done.again:
        said.append(f"{done.asked:,} evaluated again by decisions that had failed ({done.yes:,} yes)")
    said += [f"{done.duplicates:,} duplicates", f"{done.failing:,} still failing"]
    here.say(f"{', '.join(said)}.")


@app.command()
def discard(ids: Ids = None, all_: All = False) -> None:
    """Discard dead letters for good."""
    here = session()
    with here.begin() as conn:
        gone = events_table.take_dead_letters(conn, _chosen(ids, all_))
    here.say(f"{len(gone):,} discarded.")


def _chosen(ids: list[int] | None, all_: bool) -> list[int] | None:
    if bool(ids) == all_:
        raise typer.BadParameter("give numbers printed by `parcours dead-letters list`, or --all")
    return None if all_ else ids


def tell_dead(here: Session, letters: int) -> None:
    """Warn of what could not be acted on just now, or be judged by a decision."""
    if letters:
        became = "1 event became a dead letter" if letters == 1 else f"{letters:,} events became dead letters"
        here.warn(f"{became}; run `parcours dead-letters list` to see why")
