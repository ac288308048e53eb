"""`parcours points`: groups of points."""

from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.db.tables import scores
from parcours.domain.keys import checked_key

app = typer.Typer(no_args_is_help=True, help="Create and list point groups.")
groups = typer.Typer(no_args_is_help=True, help="Create and list point groups.")
app.add_typer(groups, name="groups")


@groups.command()
def create(
    key: Annotated[str, typer.Argument(help="Key of the point group.")],
    name: Annotated[str | None, typer.Option(help="Display name (default: the key).")] = None,
) -> None:
    """Create or rename a point group."""
    here = session()
    key = checked_key("point group", key)
    with here.begin() as conn:
        stored = scores.save_group(conn, key, name=name)
    here.say(
        {
            "created": f"Point group {key} is created.",
            "updated": f"Point group {key} existed and is renamed.",
            "unchanged": f"Point group {key} existed already; nothing changed.",
        }[stored]
    )


@groups.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List point groups with their number of contacts."""
    here = session()
    with here.engine.connect() as conn:
        found = scores.groups(conn)
    if as_json:
        here.print_json([group._asdict() for group in found])
        return
    here.print_table("Point groups", ["key", "name", "contacts"], found)
