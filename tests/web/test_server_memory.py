"""What a process does with its memory before it serves."""

from __future__ import annotations

import gc

from parcours.web.server import keep_what_is_loaded


def test_what_is_loaded_before_serving_is_never_looked_through_again() -> None:
    before = gc.get_freeze_count()
    try:
        keep_what_is_loaded()
        assert gc.get_freeze_count() > before + 10_000
    finally:
        gc.unfreeze()
