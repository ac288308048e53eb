"""Loads structlog without rich, which it would load for tracebacks that we never print: some megabytes a process.

Processes that run until told to stop import this before anything that logs.
"""

from __future__ import annotations

import sys

if "structlog" not in sys.modules and "rich" not in sys.modules:
    # As if it were not installed, for as long as structlog looks.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
