"""Changing a segment: its name, its rule, and what that would do; deleting one, and its members as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns, rules, segments
from parcours.domain.campaign_file.model import Problem
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import KEY_LENGTH
from parcours.domain.segments import editing, parsing
from parcours.domain.segments.file import SegmentFile
from parcours.domain.steps.types import RefersTo
from parcours.services import contact_export, removal, rule_count, segment_plan, segment_rules
from parcours.services.segment_json import definition
from parcours.web.context import Site
from parcours.web.i18n.language import _
from parcours.web.i18n.sentences import told
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, VisitorOf, draft_choice, pages_router, rule_form
from parcours.web.pages.rendering import ask_for_good, redirect, render
from parcours.web.pages.rule_form import RuleForm
from parcours.web.pages.used import used_page
from parcours.web.paging import address
from parcours.web.security.access import FormBody
from parcours.workers import rebuilding

router = pages_router()

# Seconds for which whoever applies a rule waits until it is asked; workers do the rest.
PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class SegmentDraft:
    """What stands in the form of a segment."""

    name: str
    public: bool
    published: bool
    by_rule: bool
    rule: RuleForm
    # The place in a draft to which one goes back.
    back: str = ""

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> SegmentDraft:
        rule = RuleForm(data.get("rule"), editing.of_data(data.get("rule")))
        return cls(data["name"], data["public"], data["published"], data.get("rule") is not None, rule)

    @classmethod
    def of_form(cls, form: FormBody) -> SegmentDraft:
        return cls(
            form.text("name").strip(),
            "private" not in form,
            "unpublished" not in form,
            form.text("by_rule") == "yes" or "start_rule" in form,
            rule_form.read(form),
            draft_choice.place(form.text("draft")),
        )

    def file(self, key: str) -> SegmentFile:
        """Return the segment as a file has it; the rule must have no problems."""
        rule = None
        if self.by_rule:
            rule, _problems = parsing.parse(self.rule.data)
        return SegmentFile(key, self.name, self.public, self.published, self.rule.data if rule else None, rule)


@router.get("/segments/{key:path}/edit")
def ask(request: Request, site: SiteOf, key: str) -> Response:
    """The form of a segment as it is; with `rule=yes`, as one that gets a rule."""
    with site.engine.connect() as conn:
        draft = SegmentDraft.of_data(definition(conn, key))
    if request.query_params.get("rule") == "yes" and not draft.by_rule:
        draft = replace(draft, by_rule=True)
    draft = replace(draft, back=draft_choice.place(request.query_params.get("back", "")))
    return _form(request, site, key, draft, [])


@router.post("/segments/{key:path}/edit")
def edit(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Show what a change would do, or take one step in the editor; nothing is changed here."""
    draft = SegmentDraft.of_form(form)
    with site.engine.connect() as conn:
        _found(conn, key)
        problems, name_error = _problems(conn, key, draft)
        if draft.rule.did or "start_rule" in form or "back" in form:
            # What is unfinished is no mistake yet.
            return _form(request, site, key, draft, [])
        if problems or name_error or (draft.by_rule and draft.rule.unread):
            return _form(request, site, key, draft, problems, name_error)
        file = draft.file(key)
        plans = segment_plan.plan(conn, [file], forget=False, now=database_now(conn), zone=site.zone)
        names = {row.key: row.name for row in campaigns.listing(conn)}
        stored = segments.titles(conn)
    return render(
        request,
        "segments/review.html",
        key=key,
        name=draft.name,
        own=address("segments", key),
        plans=plans,
        names=names,
        segment_names=stored,
        nothing=all(each.is_nothing for each in plans),
        fields=[pair for pair in form.pairs() if pair[0] not in ("review", "back")],
        stamp=json.dumps({each.segment: each.stamp for each in plans if each.file is not None}),
        told=told,
    )


@router.post("/segments/{key:path}/count")
def count(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """How many contacts match the rule of the form, now."""
    draft = SegmentDraft.of_form(form)
    said, wrong = "", False
    with site.engine.connect() as conn:
        _found(conn, key)
        problems, _name = _problems(conn, key, draft)
        rule = None if problems or draft.rule.unread else draft.file(key).rule
        if rule is None:
            said, wrong = _("The rule is not complete yet."), True
        else:
            counted = rule_count.count(conn, rule, now=database_now(conn), zone=site.zone)
            said = rule_form.count_words(counted)
    return render(request, "segments/count.html", said=said, wrong=wrong)


@router.post("/segments/{key:path}/apply")
def apply(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Change a segment as it was reviewed."""
    draft = SegmentDraft.of_form(form)
    own = address("segments", key)
    now = partitions.begin(site.engine)
    try:
        stamps = json.loads(form.text("stamp") or "{}")
    except ValueError:
        stamps = {}
    with site.engine.begin() as conn:
        _found(conn, key)
        problems, name_error = _problems(conn, key, draft)
        if problems or name_error or not isinstance(stamps, dict):
            return _form(request, site, key, draft, problems, name_error)
        try:
            asked = segment_rules.apply(conn, [draft.file(key)], forget=False, now=now, stamps=stamps)
        except CampaignError:
            said = _("Somebody changed the segment meanwhile. Nothing was applied; check the form and review it again.")
            return _form(request, site, key, draft, [], conflict=said)
    done = rebuilding.work_all(site.engine, asked, now=now, zone=site.zone, patience=PATIENCE_SECONDS)
    said = _("The segment was saved.")
    if not done:
        said += " " + _("Its members are being updated.")
    return redirect(request, draft.back or own, flash=said)


@router.get("/segments/{key:path}/delete", dependencies=FOR_EDITORS)
def ask_delete(request: Request, site: SiteOf, key: str, who: VisitorOf) -> Response:
    """Say what deleting a segment means, or what uses it."""
    with site.engine.connect() as conn:
        segment = _found(conn, key)
        used = removal.users_of(conn, RefersTo.SEGMENT, key)
    own = address("segments", key)
    if used:
        return used_page(request, used, who, name=segment.name, listed=("/segments", _("Segments")), back=own)
    return ask_for_good(
        request,
        own,
        "delete",
        question=_("Delete the segment “{name}”?", name=segment.name),
        consequences=[
            _("The contacts stay; only their membership of the segment is deleted."),
            _("This cannot be undone."),
        ],
        label=_("Delete"),
    )


@router.post("/segments/{key:path}/delete")
def delete(request: Request, site: SiteOf, key: str) -> Response:
    """Delete a segment that nothing uses."""
    with site.engine.begin() as conn:
        segment = _found(conn, key)
        try:
            removal.delete_segment(conn, key)
        except CampaignError:
            return redirect(request, f"{address('segments', key)}/delete")
    return redirect(request, "/segments", flash=_("The segment “{name}” was deleted.", name=segment.name))


@router.get("/segments/{key:path}/export")
def export(site: SiteOf, key: str) -> Response:
    """The members as a CSV file."""
    lines = contact_export.segment_lines(site.engine, key, "csv")
    headers = {"Content-Disposition": 'attachment; filename="contacts.csv"'}
    return StreamingResponse(lines, media_type=contact_export.MEDIA_TYPES["csv"], headers=headers)


def _found(conn: Connection, key: str) -> segments.Segment:
    found = segments.find(conn, key)
    if found is None:
        raise NotFoundError("segment", key)
    return found


def _problems(conn: Connection, key: str, draft: SegmentDraft) -> tuple[list[Problem], str | None]:
    """Return what is wrong with a rule, and with the rest of the form."""
    name_error = None
    if not draft.name or len(draft.name) > KEY_LENGTH:
        name_error = _("Enter a name of at most {n} characters.", n=KEY_LENGTH)
    problems = rule_form.check(draft.rule) if draft.by_rule else []
    if not problems and not name_error:
        problems = [problem for _file, problem in segment_plan.problems(conn, [draft.file(key)])]
    return problems, name_error


def _form(
    request: Request,
    site: Site,
    key: str,
    draft: SegmentDraft,
    problems: list[Problem],
    name_error: str | None = None,
    *,
    conflict: str | None = None,
) -> Response:
    with site.engine.connect() as conn:
        _found(conn, key)
        choices = rule_form.RuleChoices.there(conn)
        aside = rules.set_aside(conn).get(key)
    of_rule = [each for each in problems if each.path[:1] == ("rule",)]
    own = address("segments", key)
    is_wrong = bool(problems or name_error or conflict)
    return render(
        request,
        "segments/edit.html",
        400 if is_wrong else 200,
        key=key,
        draft=draft,
        view=rule_form.view(draft.rule, choices, of_rule),
        own=own,
        action=f"{own}/edit",
        name_error=name_error,
        wrong=is_wrong,
        others=[each.sentence for each in problems if each not in of_rule],
        conflict=conflict,
        aside=aside,
    )
