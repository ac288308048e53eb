"""Stages: where a contact stands in its life, ordered by weight."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from parcours.db.stored import Stored


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage and how many contacts are in it."""

    key: str
    name: str
    weight: int | None
    published: bool
    contacts: int


def save(conn: Connection, key: str, *, name: str | None, weight: int | None, published: bool | None) -> Stored:
    """Create a stage or change what is given of it; None keeps what is there.

    A new stage is named by its key, has no weight and is published, unless said otherwise.
    """
    given = {"key": key, "name": name, "weight": weight, "published": published}
    created = conn.execute(
        text(
            "INSERT INTO stage (key, name, weight, published) "
            "VALUES (:key, coalesce(:name, :key), :weight, coalesce(CAST(:published AS boolean), true)) "
            "ON CONFLICT (key) DO NOTHING RETURNING key"
        ),
        given,
    ).one_or_none()
    if created is not None:
        return "created"
    updated = conn.execute(
        text(
            "UPDATE stage SET name = coalesce(:name, name), weight = coalesce(:weight, weight), "
            "published = coalesce(:published, published) WHERE key = :key "
            "AND (name, weight, published) IS DISTINCT FROM "
            "(coalesce(:name, name), coalesce(:weight, weight), coalesce(:published, published)) "
            "RETURNING key"
        ),
        given,
    ).one_or_none()
    return "unchanged" if updated is None else "updated"


def listed(conn: Connection) -> list[Stage]:
    """Return all stages in their order; those without a weight come last."""
    rows = conn.execute(
        text(
            "SELECT stage.key, stage.name, stage.weight, stage.published, coalesce(standing.n, 0) FROM stage "
            "LEFT JOIN (SELECT stage, count(*) AS n FROM contact WHERE stage IS NOT NULL GROUP BY stage) "
            "AS standing ON standing.stage = stage.key ORDER BY stage.weight NULLS LAST, stage.key"
        )
    )
    return [Stage(*row) for row in rows]
