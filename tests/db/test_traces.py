"""Files of erased contacts go only with what was committed."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from parcours.db.tables import traces


@pytest.mark.parametrize("undone", ["inner", "outer", "later", "all", "nothing"])
def test_an_erasure_that_is_rolled_back_to_a_savepoint_leaves_the_files(engine: Engine, undone: str) -> None:
    done: list[str] = []
    with engine.connect() as conn:
        outer = conn.begin_nested()
        inner = conn.begin_nested()
        traces._when_committed(conn, lambda: done.append("wiped"))
        if undone == "inner":
            inner.rollback()
        else:
            inner.commit()
        if undone == "outer":
            outer.rollback()
        else:
            outer.commit()
        if undone == "later":
            conn.begin_nested().rollback()
        if undone == "all":
            conn.rollback()
            conn.begin()
        conn.commit()
    assert done == (["wiped"] if undone in {"later", "nothing"} else [])
