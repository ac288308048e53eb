"""Whatever key of a campaign file changes, every plan says so: terminal, JSON and pages in both languages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from parcours.domain.campaign_file.model import AtFile, CampaignFile, StepFile
from parcours.producers.files import campaigns as campaign_files
from parcours.services import campaign_plan
from parcours.services.campaign_plan import CampaignPlan
from parcours.web.i18n.language import Reader, speaking
from parcours.web.pages.campaign_form import choices_of, plan_lines
from tests.workers.worlds import World

# The identity of the campaign, and how deep the steps are nested; branches hold steps, which are walked themselves.
NO_CHANGES = {"campaign"}
RULE = {"condition": "contact.tags", "with": {"tags": ["vip"]}}
OTHER_RULE = {"condition": "contact.tags", "with": {"tags": ["gold"]}}
BOUGHT = {"type": "order.paid"}
WHERE = {"field": "total", "operator": ">=", "value": 77}
POINT: dict[str, Any] = {"step": "a", "action": "contact.points", "with": {"points": 1}, "after": "9 days"}
HIT: dict[str, Any] = {"step": "a", "decision": "page.hit", "within": "9 days"}
TAGGED: dict[str, Any] = {"step": "a", "condition": "contact.tags", "with": {"tags": ["x"]}, "after": "9 days"}
BY_DATE: dict[str, Any] = {**POINT, "after": None, "at": {"field": "ends", "before": "1 day"}}

Change = tuple[dict[str, Any], dict[str, Any], str]


def source(**changed: Any) -> dict[str, Any]:
    return {"sources": {"segments": ["everyone"], **changed}}


def step(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"steps": [{name: value for name, value in each.items() if value is not None} for each in steps]}


def dates(**changed: Any) -> dict[str, Any]:
    return source(dates=[{"field": "ends", "every": "year", **changed}])


KEYED = source(events=[{**BOUGHT, "key": "order_id"}])

# Dates, events and properties, as pages call them.
ON_PAGES = {
    "ends": ("Ends",),
    "begins": ("Begins",),
    "order.paid": ("Paid an order", "A payé une commande"),
    "order_id": ("Order number", "Numéro de commande"),
    "2026-01-05": ("5 Jan 2026", "5 janv. 2026"),
    "2199-01-05": ("5 Jan 2199", "5 janv. 2199"),
}
# For each key, what the file says before and after, and what every plan has to name.
CHANGES: dict[str, Change] = {
    "name": ({}, {"name": "Spring"}, "Spring"),
    "description": ({}, {"description": "For all"}, "For all"),
    "note": ({}, {"note": "Ask sales"}, "Ask sales"),
    "category": ({}, {"category": "sales"}, "sales"),
    "published": ({}, {"published": False}, ""),
    "publish_from": ({}, {"publish_from": "2026-01-05T09:00:00Z"}, "2026-01-05"),
    "publish_until": ({}, {"publish_until": "2199-01-05T09:00:00Z"}, "2199-01-05"),
    "reentry": ({}, {"reentry": "always"}, "always"),
    "cooldown": ({"reentry": "always"}, {"reentry": "always", "cooldown": "33 days"}, "33 days"),
    "timezone": ({}, {"timezone": "Europe/Paris"}, "Europe/Paris"),
    "exit_on_leave": ({}, {"exit_on_leave": False}, ""),
    "grace": ({}, {"grace": "33 days"}, "33 days"),
    "catch_up": ({}, {"catch_up": "shift"}, "shift"),
    "catch_up.skip": ({"catch_up": {"skip": "1 day"}}, {"catch_up": {"skip": "33 days"}}, "33 days"),
    "priority": ({}, {"priority": "high"}, "high"),
    "rate": ({}, {"rate": "7 per second"}, "7 per second"),
    "sources.segments": (source(), source(segments=["everyone", "second"]), "second"),
    "sources.forms": (source(), source(forms=["signup"]), "signup"),
    "sources.events": (source(), source(events=[BOUGHT]), "order.paid"),
    "sources.events.type": (source(events=[BOUGHT]), source(events=[{"type": "order.lost"}]), "order.lost"),
    "sources.events.where": (source(events=[BOUGHT]), source(events=[{**BOUGHT, "where": [WHERE]}]), "77"),
    "sources.events.key": (source(events=[BOUGHT]), source(events=[{**BOUGHT, "key": "order_id"}]), "order_id"),
    "sources.dates": (source(), dates(), "ends"),
    "sources.dates.field": (dates(), dates(field="begins"), "begins"),
    "sources.dates.before": (dates(), dates(before="33 days"), "33 "),
    "sources.dates.after": (dates(), dates(after="33 days"), "33 "),
    "sources.dates.hour": (dates(), dates(hour="07:33"), "07:33"),
    "sources.dates.every": (dates(), dates(every="month"), "ends"),
    "sources.existing": (source(), source(existing=False), ""),
    "entry": ({}, {"entry": {"most": 777}}, "777"),
    "entry.most": ({"entry": {"most": 5}}, {"entry": {"most": 777}}, "777"),
    "entry.rate": ({"entry": {"rate": "5 per hour"}}, {"entry": {"rate": "777 per hour"}}, "777"),
    "exit": ({}, {"exit": [{"event": "order.paid"}]}, "order.paid"),
    "exit.event": ({"exit": [{"event": "order.paid"}]}, {"exit": [{"event": "order.lost"}]}, "order.lost"),
    "exit.where": ({"exit": [{"event": "a.b"}]}, {"exit": [{"event": "a.b", "where": [WHERE]}]}, "77"),
    "exit.key": (
        {**KEYED, "exit": [{"event": "a.b"}]},
        {**KEYED, "exit": [{"event": "a.b", "key": "order_id"}]},
        "order_id",
    ),
    "exit.segment": ({}, {"exit": [{"segment": "second"}]}, "second"),
    "exit.rule": ({"exit": [{"rule": RULE}]}, {"exit": [{"rule": OTHER_RULE}]}, "gold"),
    "goal": ({}, {"goal": {"event": "order.paid"}}, "order.paid"),
    "goal.event": ({"goal": {"event": "order.paid"}}, {"goal": {"event": "order.lost"}}, "order.lost"),
    "goal.where": ({"goal": {"event": "a.b"}}, {"goal": {"event": "a.b", "where": [WHERE]}}, "77"),
    "goal.key": (
        {**KEYED, "goal": {"event": "a.b"}},
        {**KEYED, "goal": {"event": "a.b", "key": "order_id"}},
        "order_id",
    ),
    "goal.rule": ({"goal": {"rule": RULE}}, {"goal": {"rule": OTHER_RULE}}, "gold"),
    "goal.within": ({"goal": {"event": "a.b"}}, {"goal": {"event": "a.b", "within": "33 days"}}, "33 "),
    "goal.value": ({"goal": {"event": "a.b"}}, {"goal": {"event": "a.b", "value": "total"}}, "total"),
    "control": ({}, {"control": 33}, "33"),
    "redirect": (
        step(POINT, {**POINT, "step": "b"}),
        {**step({**POINT, "step": "b"}), "redirect": {"a": "b"}},
        "a",
    ),
    "steps": (step(POINT), step(POINT, {**POINT, "step": "extra"}), "extra"),
    "steps.step": (step(POINT), step({**POINT, "step": "other"}), "other"),
    "steps.name": (step(POINT), step({**POINT, "name": "Thanks"}), "Thanks"),
    "steps.note": (step(POINT), step({**POINT, "note": "Ask sales"}), "Ask sales"),
    "steps.action": (step(POINT), step({**TAGGED, "condition": None, "action": "contact.tags", "with": {"add": ["x"]}}),
                     "contact.tags"),
    "steps.decision": (step(HIT), step({**HIT, "decision": "event.happened", "with": BOUGHT}), "event.happened"),
    "steps.condition": (step(TAGGED), step({**TAGGED, "condition": "contact.dnc", "with": {"channels": ["sms"]}}),
                        "contact.dnc"),
    "steps.with": (step(POINT), step({**POINT, "with": {"points": 777}}), "777"),
    "steps.after": (step(POINT), step({**POINT, "after": "33 days"}), "33 days"),
    "steps.at": (step(POINT), step({**POINT, "after": None, "at": "2026-12-24T09:00:00Z"}), "2026-12-24"),
    "steps.at.field": (step(BY_DATE), step({**BY_DATE, "at": {"field": "begins", "before": "1 day"}}), "begins"),
    "steps.at.before": (step(BY_DATE), step({**BY_DATE, "at": {"field": "ends", "before": "33 days"}}), "33 days"),
    "steps.at.after": (step(BY_DATE), step({**BY_DATE, "at": {"field": "ends", "after": "33 days"}}), "33 days"),
    "steps.at.hour": (step(BY_DATE), step({**BY_DATE, "at": {"field": "ends", "hour": "07:33"}}), "07:33"),
    "steps.hour": (step(POINT), step({**POINT, "hour": "07:33"}), "07:33"),
    "steps.between": (step(POINT), step({**POINT, "between": ["07:33", "18:00"]}), "07:33"),
    "steps.days": (step(POINT), step({**POINT, "days": ["mon"]}), "mon"),
    "steps.late": (step(BY_DATE), step({**BY_DATE, "late": "run"}), "late"),
    "steps.within": (step(HIT), step({**HIT, "within": "33 days"}), "33 days"),
    "steps.look_back": (step(HIT), step({**HIT, "look_back": "33 days"}), "33 days"),
    "steps.max_attempts": (step(POINT), step({**POINT, "max_attempts": 7}), "7"),
    "steps.on_failure": (step(POINT), step({**POINT, "on_failure": "continue"}), "continue"),
    "steps.then": (step(POINT), step({**POINT, "then": [{**POINT, "step": "extra"}]}), "extra"),
    "steps.yes": (step(HIT), step({**HIT, "yes": [{**POINT, "step": "extra"}]}), "extra"),
    "steps.no": (step(HIT), step({**HIT, "no": [{**POINT, "step": "extra"}]}), "extra"),
}  # fmt: skip


def keys_of(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Yield every key of a file, with those of what stands inside it."""
    for name, field in model.model_fields.items():
        key = f"{above}{field.alias or name}"
        # Each of what is inside is one of its keys.
        yield key
        for inside in models_in(field.annotation):
            if inside is not StepFile or model is CampaignFile:
                yield from keys_of(inside, f"{key}.")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from models_in(each)


EVERY = sorted({*keys_of(CampaignFile)} - NO_CHANGES - {"sources"})


def planned(world: World, said: dict[str, Any], *, applied: bool) -> CampaignPlan:
    given = {"segments": ["everyone"], **said.pop("sources", {})}
    steps = json.dumps(said.pop("steps", [POINT]))
    if applied:
        return world.campaign(steps, **given, **said)
    head = {"campaign": "c", "published": True, **said, "sources": given}
    body = "".join(f"{name}: {json.dumps(value)}\n" for name, value in head.items())
    file = campaign_files.read_text(f"{body}steps: {steps}\n", name=world._file, default_zone=world.zone)
    with world.engine.connect() as conn:
        assert campaign_plan.check_references(conn, file) == []
        return campaign_plan.plan(conn, file, zone=world.zone)


def page(plan: CampaignPlan, language: str) -> list[str]:
    with speaking(Reader(language)):
        return [line for _, line in plan_lines(plan)] + [f"{each.label} {each.help}" for each in choices_of(plan)]


@pytest.mark.parametrize("key", EVERY)
def test_a_change_of_any_key_is_told_everywhere(world: World, key: str) -> None:
    if key not in CHANGES:
        pytest.fail(f"give a change of {key!r} in CHANGES, and let the plan tell it")
    before, after, named = CHANGES[key]
    world.contacts("ann", segment="everyone", ends="2026-08-01", begins="2026-09-01")
    world.segment("second")
    world.form("signup")
    planned(world, dict(before), applied=True)
    world.run()
    plan = planned(world, dict(after), applied=False)
    assert plan.would_change
    terminal, data = plan.lines()[1:], json.dumps(plan.to_json(), ensure_ascii=False)
    english, french = page(plan, "en"), page(plan, "fr")
    # Beyond that a version is created.
    assert len(english) > 1 or named == "", english
    for said in ("\n".join(terminal), data, "\n".join(english), "\n".join(french)):
        assert any(each in said for each in (named, *ON_PAGES.get(named, ()))), (key, said)
    assert terminal, key
    assert not set(english) & set(french), (key, set(english) & set(french))


def test_a_rule_that_is_too_long_to_be_told_is_told_as_a_setting(world: World) -> None:
    several = [{"condition": "contact.tags", "with": {"tags": [f"tag-{n}"]}} for n in range(40)]
    world.contacts("ann", segment="everyone")
    planned(world, {"goal": {"rule": {"any": several}}, "exit": [{"rule": {"any": several}}]}, applied=True)
    fewer = {"any": several[:-1]}
    plan = planned(world, {"goal": {"rule": fewer}, "exit": [{"rule": fewer}]}, applied=False)
    assert [line[4:9] for line in plan.lines()[1:3]] == ["exit:", "goal:"]
    assert [line.split("\u00a0:")[0] for line in page(plan, "fr")[1:3]] == ["Sorties", "Objectif"]


def test_the_walk_finds_the_keys_inside() -> None:
    assert {"rate", "sources.events.where", "exit.rule", "steps.at.field", "catch_up.skip"} <= set(EVERY)
    assert {f"steps.at.{name}" for name in AtFile.model_fields} <= set(EVERY)
