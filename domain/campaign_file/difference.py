"""What differs between two campaign files: settings, and what each step says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from parcours.domain.campaign_file.model import BRANCH_NAMES, CampaignFile, StepFile

# What names the campaign, what switches it, what is done once by applying, and what is compared step by step.
_NO_SETTINGS = {"campaign", "published", "redirect", "steps"}
# Characters of a value that a sentence repeats.
_MOST = 60


class Difference(NamedTuple):
    """A value that two files state differently, as plain data; None: not stated.

    `step` is the key of the step that states it; None: the campaign does. `name` is the name in the file, with dots
    where it stands inside another, such as `sources.segments` or `with.email`.
    """

    step: str | None
    name: str
    before: Any
    after: Any

    @property
    def added(self) -> list[Any]:
        """What a list has more than before."""
        return _more(self.after, self.before)

    @property
    def removed(self) -> list[Any]:
        """What a list has no more."""
        return _more(self.before, self.after)

    @property
    def is_list(self) -> bool:
        """Whether single values come and go; a list that only has another order is told as a whole."""
        return all(isinstance(each, list | None) for each in (self.before, self.after)) and bool(
            self.added or self.removed
        )

    def words(self, *, none: str = "none", yes: str = "yes", no: str = "no") -> str:
        """Return the difference in short: `2 days → 5 days`, or `+ news, - old` for a list."""

        def said(value: Any) -> str:
            return spoken(value, none=none, yes=yes, no=no)

        if self.is_list:
            return ", ".join([f"+ {said(each)}" for each in self.added] + [f"- {said(each)}" for each in self.removed])
        before, after = said(self.before), said(self.after)
        # Long texts may differ further on.
        return f"{before} → {after}" if before != after else f"… → {after}"

    def to_json(self) -> dict[str, Any]:
        """Return the difference as JSON holds it."""
        return {"step": self.step, "name": self.name, "before": self.before, "after": self.after}


def spoken(value: Any, *, none: str = "none", yes: str = "yes", no: str = "no") -> str:
    """Return a value of a file in one short line, much as the file has it."""
    if value is None or value in ("", [], {}):
        return none
    if isinstance(value, bool):
        return yes if value else no
    if isinstance(value, Mapping):
        inside = ", ".join(f"{name}: {spoken(each, none=none, yes=yes, no=no)}" for name, each in value.items())
        return _shortened(f"{{{inside}}}")
    if isinstance(value, list):
        return _shortened(", ".join(spoken(each, none=none, yes=yes, no=no) for each in value))
    return _shortened(str(value))


def differences(before: CampaignFile, after: CampaignFile) -> list[Difference]:
    """Return what differs, settings first; of the steps, what those that both files have say of themselves.

    Every name that files may have is looked at, those that come later too. Steps that come, go or move are not told.
    """
    found = [Difference(None, *each) for each in _unlike(_settings(before), _settings(after))]
    old = {step.step: step for step in before.walk()}
    for step in after.walk():
        # Most say the same; an instant that only has another offset counts as a difference.
        was = old.get(step.step)
        if was is not None and (was.own != step.own or str(was.at) != str(step.at)):
            found += [Difference(step.step, *each) for each in _unlike(_own(was), _own(step))]
    return found


def _unlike(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in [*before, *(name for name in after if name not in before)]:
        if before.get(name) != after.get(name):
            yield name, before.get(name), after.get(name)


def _settings(file: CampaignFile) -> dict[str, Any]:
    data = file.model_dump(mode="json", by_alias=True, exclude=_NO_SETTINGS)
    sources = data.pop("sources")
    return {**data, **{f"sources.{name}": _stated(value) for name, value in sources.items()}}


def _own(step: StepFile) -> dict[str, Any]:
    data = step.model_dump(mode="json", by_alias=True, exclude={"step", *BRANCH_NAMES})
    inside = data.pop("with")
    return {**data, **{f"with.{name}": value for name, value in inside.items()}}


def _stated(value: Any) -> Any:
    """Return a value without what nobody stated in it."""
    if isinstance(value, Mapping):
        return {name: _stated(each) for name, each in value.items() if each not in (None, [], {})}
    return [_stated(each) for each in value] if isinstance(value, list) else value


def _more(one: Any, other: Any) -> list[Any]:
    if not (isinstance(one, list) and isinstance(other, list | None)):
        return []
    return [each for each in one if each not in (other or [])]


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"
