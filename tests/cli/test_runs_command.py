"""Runs that events begin, as a user sees them: plan, log, explain, overview and simulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import Run

CAMPAIGN = """
format: 2
campaign: carts
published: true
reentry: always
sources: {events: [{type: cart.updated, where: [{field: total, operator: gte, value: 50}], key: cart_id}]}
exit: [{event: order.paid, key: cart_id}]
entry: {most: 3}
steps:
  - {step: noted, action: contact.points, with: {points: 1}}
  - {step: remind, action: contact.tags, with: {add: [reminded]}, after: 1 hour}
"""


def done(run: Run, *words: object) -> str:
    ran = run(*words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def told(run: Run, type_: str, who: str = "ann", **data: Any) -> None:
    done(run, "events", "publish", "--type", type_, "--contact", who, "--data", json.dumps(data), "--inline")


def test_runs_are_planned_and_shown(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "carts.yaml"
    file.write_text(CAMPAIGN, encoding="utf-8")
    planned = done(run, "campaigns", "plan", file)
    assert "  + source event cart.updated where total gte 50, a run for each cart_id\n" in planned
    assert "  + exit on event order.paid, the run of the same cart_id\n" in planned
    assert "  + limit: 3 entries at most\n" in planned
    done(run, "campaigns", "apply", file, "--yes")
    shown = done(run, "campaigns", "export", "carts")
    assert shown.startswith("format: 2\n")
    again = tmp_path / "again.yaml"
    again.write_text(shown, encoding="utf-8")
    assert "no changes" in done(run, "campaigns", "plan", again)

    told(run, "cart.updated", cart_id="a", total=60)
    told(run, "cart.updated", cart_id="b", total=70)
    told(run, "order.paid", cart_id="a")
    done(run, "trigger", "--inline")
    lines = [json.loads(line) for line in done(run, "log", "carts", "--json").splitlines()]
    assert [(line["step"], line["run"], line["result"]) for line in lines if line["step"] == "remind"] == [
        ("remind", "a", "cancelled")
    ]
    waiting = [json.loads(line) for line in done(run, "log", "carts", "--waiting", "--json").splitlines()]
    assert [(line["step"], line["run"], line["rotation"]) for line in waiting] == [("remind", "b", 2)]

    explained = json.loads(done(run, "explain", "carts", "ann", "--json"))
    runs = explained["membership"]["runs"]
    assert [(each["run"], each["departure"], each["reason"], each["entry"]["total"]) for each in runs] == [
        ("a", "exit", "event order.paid with cart_id a", 60),
        ("b", None, None, 70),
    ]
    text = done(run, "explain", "carts", "ann")
    assert "Run a: began" in text
    assert "(exit: event order.paid with cart_id a)" in text
    assert "waits at remind of run b (action) until" in text
    assert "noted of run b: done" in text

    told(run, "cart.updated", "bob", cart_id="c", total=70)
    told(run, "cart.updated", "eve", cart_id="d", total=70)
    overview = json.loads(done(run, "overview", "carts", "--json"))
    assert overview["campaign"]["entry"]["entered"] == 3
    assert overview["contacts"]["active"] == 2
    assert "3 entered of 3 at most" in done(run, "overview", "carts")
    assert "An event begins a run for it: cart.updated." in done(run, "explain", "carts", "eve")
    # What an upstream system got wrong is told of who is not in.
    told(run, "cart.updated", "kim", total=70)
    assert "names no run: cart_id must be a text or a number in its data." in done(run, "explain", "carts", "kim")
    told(run, "cart.updated", "kim", cart_id="e", total=1)
    assert "does not pass the tests of its data, so it began no run." in done(run, "explain", "carts", "kim")
    assert "holds: a contact with runs is in the campaign" in done(run, "check")

    changed = tmp_path / "changed.yaml"
    changed.write_text(
        CAMPAIGN.replace("exit: [{event: order.paid, key: cart_id}]", "exit: [{event: order.paid}]"), encoding="utf-8"
    )
    planned = done(run, "campaigns", "plan", changed)
    assert "  - exit on event order.paid, the run of the same cart_id\n" in planned
    assert "  + exit on event order.paid, all runs\n" in planned


def test_who_is_held_back_by_a_rate_is_explained(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "carts.yaml"
    file.write_text(CAMPAIGN.replace("most: 3", "rate: 1 per day"), encoding="utf-8")
    done(run, "campaigns", "apply", file, "--yes")
    for cart in "abc":
        told(run, "cart.updated", cart_id=cart, total=60)
    text = done(run, "explain", "carts", "ann")
    assert "Held back with run b since" in text
    assert "by the campaign's limit; 1 come before." in text
    assert json.loads(done(run, "overview", "carts", "--json"))["campaign"]["entry"]["held_back"] == 2


def test_a_simulation_begins_a_run_for_each_contact(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "carts.yaml"
    file.write_text(CAMPAIGN.replace("entry: {most: 3}", "entry: {rate: 10 per hour}"), encoding="utf-8")
    found = json.loads(done(run, "simulate", file, "--contacts", 25, "--days", 1, "--json"))
    assert found["contacts"]["added"] == 25
    steps = {step["step"]: step for step in found["steps"]}
    assert steps["remind"]["done"] == 25
