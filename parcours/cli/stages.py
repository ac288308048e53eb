"""`parcours stages`: create and list."""

from dataclasses import asdict
from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.db.tables import stages
from parcours.domain.keys import checked_key

app = typer.Typer(no_args_is_help=True, help="Create and list stages.")


@app.command()
def create(
    key: Annotated[str, typer.Argument(help="Key of the stage.")],
    name: Annotated[str | None, typer.Option(help="Display name (default: the key).")] = None,
    weight: Annotated[
        int | None,
        typer.Option(
            min=-(2**31), max=2**31 - 1, help="Order of the stage: contacts never move to a stage with a lower weight."
        ),
    ] = None,
    published: Annotated[bool | None, typer.Option("--published/--unpublished", help="Default: published.")] = None,
) -> None:
    """Create a stage, or update the given values of an existing one."""
    here = session()
    key = checked_key("stage", key)
    with here.begin() as conn:
        stored = stages.save(conn, key, name=name, weight=weight, published=published)
    here.say(
        {
            "created": f"Stage {key} is created.",
            "updated": f"Stage {key} existed and is updated.",
            "unchanged": f"Stage {key} existed already; nothing changed.",
        }[stored]
    )


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List stages by weight with their number of contacts."""
    here = session()
    with here.engine.connect() as conn:
        found = stages.listed(conn)
    if as_json:
        here.print_json([asdict(stage) for stage in found])
        return
    here.print_table(
        "Stages",
        ["key", "name", "weight", "published", "contacts"],
        [(stage.key, stage.name, stage.weight, "yes" if stage.published else "no", stage.contacts) for stage in found],
    )
