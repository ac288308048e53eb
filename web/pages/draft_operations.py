"""What a form of the builder does to a draft: one change, what it is called, and what is shown then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.tables import forms, segments
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.edit import EditError, StepPlace
from parcours.domain.campaign_file.model import FORMAT
from parcours.domain.errors import CampaignError
from parcours.domain.keys import slug
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind
from parcours.domain.time.zones import zone_of
from parcours.producers.files.campaigns import CampaignFileError, value_of
from parcours.producers.files.comments import with_notes
from parcours.services import drafts as service
from parcours.web.i18n import step_words
from parcours.web.i18n.language import _
from parcours.web.i18n.sentences import told
from parcours.web.pages import draft_rules, draft_trees, panels, rule_form, setting_rows
from parcours.web.pages.draft_bench import LENGTHS, MOST_OF_NAME, SAME, SETTINGS, Bench, anew_of, place_of
from parcours.web.pages.step_titles import names_of
from parcours.web.security.access import FormBody

# What problems of a text call it.
_YAML = Path("campaign.yaml")


class DraftOperation:
    """One operation that a form asks for: what it does to the file, what it is called, and what to show then."""

    def __init__(self, conn: Connection, bench: Bench, form: FormBody, zone: ZoneInfo) -> None:
        self.conn = conn
        self.bench = bench
        self.form = form
        # Of dates in a campaign that has none of its own.
        self.zone = zone
        self.key = form.text("step")
        self.said = ""
        self.shows: str | None = self.key or None
        self.focus = "card"
        self.address: str | None = None
        # The draft with what was typed in a panel, to show it once more where it cannot be kept.
        self.typed: dict[str, Any] | None = None
        self.anew: str | None = anew_of({"anew": form.text("anew")}) or None

    def draw_anew(self) -> None:
        """Have the panel drawn anew, because its fields are others than before."""
        self.anew = str((int(self.anew or "0") + 1) % 1_000_000)

    def change(self, does: str) -> service.Change:
        """Return the change. Raises EditError for an operation that there is none of."""
        known: dict[str, Callable[[], service.Change]] = {
            "insert": self.insert,
            "set": self.set,
            "settings": self.settings,
            "remove": lambda: self.remove(lift=False),
            "lift": lambda: self.remove(lift=True),
            "move": self.move,
            "copy": self.copy,
            "up": lambda: self.shift(up=True),
            "down": lambda: self.shift(up=False),
            "rename": self.rename,
            "yaml": self.yaml,
            "redirect": self.redirect,
            "choose": self.choose,
        }
        if does not in known:
            raise EditError("the page asked for something that there is not; reload it")
        return known[does]()

    def title(self, key: str) -> str:
        """Return what a step is called."""
        steps = {each.step["step"]: each.step for each in edit.walk(self.bench.file)}
        if key not in steps:
            return key
        return self.title_now(steps[key], steps)

    def title_now(self, step: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> str:
        """Return what a step is called as it is given, by the names of what it refers to."""
        names = names_of(self.conn, draft_trees.references(step))
        return draft_trees.title_of(step, draft_trees.with_steps(names, steps))

    def insert(self) -> service.Change:
        kind, _sign, name = self.form.text("type").partition(" ")
        place, around = place_of(_texts(self.form))
        try:
            found = step_type(Kind(kind), name)
        except (CampaignError, ValueError):
            raise EditError("there is no such type of step; reload the page") from None
        offer = next((each for each in edit.allowed(self.bench.file, place, around=around, types=[found])), None)
        if offer is not None and offer.why_not is not None:
            raise EditError(offer.why_not)
        key = edit.fresh_key(found.name.replace(".", "-"), edit.keys(self.bench.file))
        step: dict[str, Any] = {"step": key, kind: found.name}
        if kind == "decision":
            # Without a deadline, nobody could go on when nothing happens.
            step["within"] = "3 days"
        self.said = _("Added: {what}", what=step_words.type_name(kind, found.name))
        self.shows, self.focus = key, "panel"
        return lambda data: edit.insert(data, place, step, around=around)

    def set(self) -> service.Change:
        key, form = self.key, self.form
        step = edit.find(self.bench.file, key).step
        kind = edit.kind_of(step) or Kind.ACTION
        given = step.get("with") if isinstance(step.get("with"), dict) else {}
        values: dict[str, Any] = {"name": form.text("name").strip() or None, **panels.timing_from(form, kind.value)}
        if "note" in form:
            values["note"] = _note(form)
        focus = SAME
        try:
            found = step_type(kind, str(step[kind.value]))
            values["with"] = panels.properties_of(found, given or {}, form) or None
            pressed = draft_rules.pressed(form)
            kinds = rule_form.field_kinds(self.conn) if found.rule_of or "operator" in (given or {}) else {}
            now = panels.shape(found, values["with"] or {}, kinds)
            if pressed is not None or panels.shape(found, given or {}, kinds) != now:
                self.draw_anew()
            focus = pressed or SAME
        except CampaignError:
            values["with"] = value_of(form.text("raw")) if form.text("raw").strip() else None
        if kind is Kind.ACTION:
            values["on_failure"] = "continue" if form.text("on_failure") == "continue" else None
        fresh = key
        name = values["name"]
        if name and not step.get("name") and not self.is_live(key) and slug(str(name)):
            # A name says more than a type; nobody waits at the key yet.
            others = [each for each in edit.keys(self.bench.file) if each != key]
            fresh = edit.fresh_key(slug(str(name)), others)
        steps = {each.step["step"]: each.step for each in edit.walk(self.bench.file)}
        self.said = _("Changed: {what}", what=self.title_now({**step, **values}, steps))
        self.shows, self.focus = fresh, focus
        self.typed = edit.change(self.bench.file, key, values)
        _fits(name, step.get("name"))
        return lambda data: edit.rename(edit.change(data, key, values), key, fresh)

    def is_live(self, key: str) -> bool:
        return key in self.live()

    def live(self) -> list[str]:
        """Return the keys of the campaign as it runs, at which contacts may wait."""
        found = self.bench.found
        return [] if found is None else edit.keys(service.data_of(self.conn, found))

    def remove(self, *, lift: bool) -> service.Change:
        found = edit.find(self.bench.file, self.key)
        self.said = _("Deleted: {what}", what=self.title(self.key))
        self.shows = found.place.parent
        return lambda data: edit.remove(data, self.key, lift=lift)

    def move(self) -> service.Change:
        place, around = place_of(_texts(self.form))
        self.may_stand(place, around=around)
        self.said = _("Moved: {what}", what=self.title(self.key))
        return lambda data: edit.move(data, self.key, place, around=around)

    def copy(self) -> service.Change:
        around = False
        if self.form.text("branch"):
            place, around = place_of(_texts(self.form))
            self.may_stand(place, around=around)
        else:
            own = edit.find(self.bench.file, self.key).place
            place = own._replace(nth=own.nth + 1)
        changed, self.shows = edit.copy(self.bench.file, self.key, place, around=around)
        self.said = _("Copied: {what}", what=self.title(self.key))
        return lambda data: changed

    def may_stand(self, place: StepPlace, *, around: bool) -> None:
        """Raise EditError where a step of this type may not stand."""
        step = edit.find(self.bench.file, self.key).step
        kind = edit.kind_of(step)
        try:
            types = [] if kind is None else [step_type(kind, str(step[kind.value]))]
        except CampaignError:
            return
        for offer in edit.allowed(self.bench.file, place, around=around, types=types):
            if offer.why_not is not None:
                raise EditError(offer.why_not)

    def shift(self, *, up: bool) -> service.Change:
        what = self.title(self.key)
        self.said = _("Moved up: {what}", what=what) if up else _("Moved down: {what}", what=what)
        return lambda data: edit.shifted(data, self.key, up=up)

    def rename(self) -> service.Change:
        to = self.form.text("key").strip()
        self.said = _("Key changed: {key}", key=to)
        self.shows, self.focus = to, "panel"
        live = self.live()
        return lambda data: edit.rename(data, self.key, to, live=live)

    def settings(self) -> service.Change:
        form = self.form
        before = self.bench.file
        values: dict[str, Any] = {name: form.text(name).strip() or None for name in SETTINGS}
        values |= {name: panels.written_length(form, name) for name in LENGTHS}
        values["rate"] = panels.written_rate(form, "rate")
        values["reentry"] = None if values["reentry"] == "never" else values["reentry"]
        values["priority"] = None if values["priority"] == "normal" else values["priority"]
        values["exit_on_leave"] = None if "exit_on_leave" in form else False
        catch_up = form.text("catch_up")
        values["catch_up"] = {"skip": panels.written_length(form, "catch_up_skip")} if catch_up == "skip" else None
        if catch_up == "shift":
            values["catch_up"] = "shift"
        zone = zone_of(str(before.get("timezone") or ""), self.zone)
        for name in ("publish_from", "publish_until"):
            was = before.get(name)
            text = form.text(name).strip()
            # A date that is left as it was keeps its seconds and offset, but for those of another timezone.
            kept = values["timezone"] == (before.get("timezone") or None) and text == panels.moment_of(was, zone)
            values[name] = was if was and kept else text or None
        if "note" in form:
            values["note"] = _note(form)
        values["goal"] = setting_rows.goal(form, before.get("goal"))
        if "control" in form:
            values["control"] = value_of(form.text("control").strip()) if form.text("control").strip() else None
        values["exit"] = setting_rows.read(form, "exit", before.get("exit"))
        values["entry"] = self.entry()
        given = before["sources"] if isinstance(before.get("sources"), dict) else {}
        sources: dict[str, Any] = {
            "segments": self.picked("segments", self.segments),
            "forms": self.picked("forms", lambda: [(row.key, row.name) for row in forms.listed(self.conn)]),
            **{name: setting_rows.read(form, name, given.get(name)) for name in ("events", "dates")},
        }
        values["sources"] = {name: value for name, value in sources.items() if value}
        if "existing" not in form:
            values["sources"]["existing"] = False
        if self.bench.found is None and form.text("campaign").strip():
            values["campaign"] = form.text("campaign").strip()
        self.said = _("Settings changed.")
        self.typed = after = edit.change(before, None, values)
        _fits(values["name"], before.get("name"))
        focus = draft_rules.pressed(form)
        if focus is None:
            focus = setting_rows.pressed(form, after)
        more = any(form.text(f"{name}-more").strip() for name in ("segments", "forms"))
        if focus is not None or more or self.settings_shape(before) != self.settings_shape(after):
            self.draw_anew()
        self.address = self.bench.url(settings=1, focus=focus or SAME, anew=self.anew)
        return lambda data: edit.change(data, None, values)

    def settings_shape(self, data: Mapping[str, Any]) -> object:
        return setting_rows.shape(
            data, rule_form.field_kinds(self.conn) if "rule" in str(data.get("exit")) + str(data.get("goal")) else {}
        )

    def segments(self) -> list[tuple[str, str]]:
        return list(segments.titles(self.conn).items())

    def picked(self, name: str, known: Callable[[], list[tuple[str, str]]]) -> list[str]:
        """Return the keys that are ticked, and the one that was searched for, by its key or its name."""
        found, more = self.form.all(name), self.form.text(f"{name}-more").strip()
        if more:
            named = [key for key, called in known() if more.casefold() in (key.casefold(), called.casefold())]
            found = [*found, more if more in named or not named else named[0]]
        return list(dict.fromkeys(found))

    def entry(self) -> Any:
        """Return the limits of entry; what the form says nothing of stays."""
        form, before = self.form, self.bench.file.get("entry")
        if "entry" in form:
            return value_of(form.text("entry")) if form.text("entry").strip() else None
        if "entry_most" not in form:
            return before
        most = form.text("entry_most").strip()
        made: dict[str, Any] = {
            "most": int(most) if most.isascii() and most.isdigit() and len(most) < 19 else most or None
        }
        made["rate"] = panels.written_rate(form, "entry_rate")
        return {name: value for name, value in made.items() if value is not None}

    def yaml(self) -> service.Change:
        # Only a whole that can be drawn is kept: one entry to undo for each.
        text = self.form.text("text").replace("\r\n", "\n")
        try:
            data = edit.normalised(with_notes(_YAML, text))
        except CampaignFileError as error:
            first = error.problems[0]
            line = _("Line {n}", n=first.line) if first.line else ""
            raise EditError(f"{line}{_(': ')}{told(first.sentence)}" if line else told(first.sentence)) from None
        if self.bench.found is not None or not data.get("campaign"):
            data["campaign"] = self.bench.file.get("campaign")
        data.pop("published", None)
        if data.get("format") in range(1, FORMAT + 1):
            # Made again from what is used when it is applied.
            del data["format"]
        data = service.with_choices(data, service.choices(self.bench.file))
        data[edit.ROOT] = data.pop(edit.ROOT)
        self.said = _("YAML accepted.")
        self.address = self.bench.url(yaml=1)
        return lambda _before: data

    def choose(self) -> service.Change:
        """Keep what is chosen for contacts inside until the draft is applied."""
        name = self.form.text("choice")
        if name not in service.CHOICES:
            raise EditError("the page asked for something that there is not; reload it")
        made = {**service.choices(self.bench.file), name: name in self.form}
        self.said = _("Changed what happens to active contacts.")
        return lambda data: service.with_choices(data, made)

    def redirect(self) -> service.Change:
        removed, to = self.form.text("from"), self.form.text("to")
        known = edit.redirects(self.bench.file)
        known.pop(removed, None)
        if to:
            known[removed] = to
        self.said = _("Changed where contacts of a removed step go.")
        if self.form.text("back") == "review":
            self.address = f"{self.bench.base}/review"
        return lambda data: edit.change(data, None, {"redirect": known or None})


def _fits(name: str | None, before: Any) -> None:
    """Raise EditError for a new name that is longer than pages can show."""
    if name is not None and len(name) > MOST_OF_NAME and name != before:
        raise EditError(f"the name is longer than {MOST_OF_NAME} characters; shorten it")


def _note(form: FormBody) -> str | None:
    return form.text("note").replace("\r\n", "\n").strip() or None


def _texts(form: FormBody) -> dict[str, str]:
    return {name: form.text(name) for name in ("parent", "branch", "nth", "around")}
