"""Rules in a draft of a campaign: the rule editor of a step, an exit or the goal, and how many contacts match."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.domain.campaign_file.model import Problem
from parcours.domain.segments import parsing
from parcours.services import rule_count
from parcours.services.draft_check import DraftProblem
from parcours.web.context import Site
from parcours.web.i18n.language import _
from parcours.web.pages import rule_form
from parcours.web.pages.rendering import render
from parcours.web.pages.rule_form import RuleChoices, RuleView
from parcours.web.security.access import FormBody

_NAME = re.compile(r"[a-z][a-z0-9-]{0,60}")


def problems(found: Iterable[DraftProblem], field: str) -> list[Problem]:
    """Return what is wrong with the rule of a field, at its places in the rule."""
    wrong = [each for each in found if each.field == field or each.field.startswith(f"{field}.")]
    return [Problem(("rule", *_path(each.field[len(field) + 1 :])), each.sentence) for each in wrong]


def _path(text: str) -> list[str | int]:
    return [int(each) if each.isascii() and each.isdigit() else each for each in text.split(".") if each]


def view(
    conn: Connection, data: Any, wrong: Iterable[Problem], name: str, choices: RuleChoices | None = None
) -> RuleView:
    """Return a rule of a draft as the editor shows it, right or wrong; what is no rule as YAML."""
    made = rule_form.of_draft(data)
    return rule_form.view(made, choices or choices_of(conn), wrong, name=name, whole=not made.as_yaml)


def choices_of(conn: Connection) -> RuleChoices:
    """Return what a rule of a campaign may name: also the campaign itself."""
    known = RuleChoices.there(conn)
    return replace(known, campaigns=[("this", _("This campaign")), *known.campaigns])


def pressed(form: FormBody) -> str | None:
    """Return what should have the focus after a button of a rule editor, or None if none was used."""
    for name, value in form.pairs():
        if name.endswith("_do") and value:
            return rule_form.read(form, name.removesuffix("_do")).focus
    return None


def count(request: Request, conn: Connection, site: Site, form: FormBody) -> Response:
    """Say how many contacts match the rule that `rule` of the query names, as the form has it."""
    name = request.query_params.get("rule", "")
    data = rule_form.written(form, name, None) if _NAME.fullmatch(name) else None
    rule, wrong = parsing.parse(data, of_campaign=True)
    of_segment, _wrong = parsing.parse(data)
    if rule is None or wrong:
        return render(request, "segments/count.html", said=_("The rule is not complete yet."), wrong=True)
    if of_segment is None:
        said = _("The rule asks about the campaign itself, so that its contacts cannot be counted here.")
        return render(request, "segments/count.html", said=said, wrong=True)
    counted = rule_count.count(conn, of_segment, now=database_now(conn), zone=site.zone)
    return render(request, "segments/count.html", said=rule_form.count_words(counted), wrong=False)
