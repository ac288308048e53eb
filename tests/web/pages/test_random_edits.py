"""The builder under operations in any order with odd values: it always answers, and a draft stays one."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from parcours.domain.campaign_file import edit
from parcours.domain.steps.registry import all_types
from parcours.producers.files.campaigns import write
from parcours.producers.files.comments import with_notes
from parcours.services import drafts as service
from tests.web.conftest import Client
from tests.web.pages.test_builder import Builder, file_of, world
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_segment_form import fields_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import World

__all__ = ["world"]

ODD = (
    *("", " ", "x", "0", "-1", "1", "10", "1e308", "1e999", "nan", ".inf", "-.nan", "١٢", "²", "99999999999999999999"),
    *("9999-12-31T23:59", "0001-01-01", "25:61", "09:00", "1 day", "-3 days", "999999 years", "x" * 10_000),
    *("😀", "\ud83d", "a\0b", "\u202eabc", "مرحبا", "a\r\nb\rc", "\u2028", "{{", "{{ contact.name }}", "{% for %}"),
    *("<b>\"'&", "a: b", "- a", "[", "]", "{a: 1}", "[1, {b: 2}]", "!!python/object:os", "&a [*a]", "#", "~", "true"),
    *("../..", "%", "\\", "hello", "visited", "everyone", "this", "contact.points"),
)
OPERATIONS = (
    *("insert", "insert", "set", "set", "set", "settings", "settings", "remove", "lift", "move", "copy", "up", "down"),
    *("rename", "yaml", "redirect", "choose", "undo", "undo", "redo", "preview", "count", "nothing"),
)
OPERATIONS_OF_A_RUN = 25
_PATH = Path("campaign.yaml")
PAGES = ("", "settings=1", "yaml=1", "add=1", "help=1", "moving=", "q=a")


class Editor:
    """Somebody who does anything in the builder, by its forms, with any values in them."""

    def __init__(self, builder: Builder, world: World, seed: int) -> None:
        self.builder, self.world, self.chance = builder, world, random.Random(seed)
        self.types = [f"{each.kind.value} {each.name}" for each in all_types()]
        self.log: list[Any] = []

    def odd(self) -> str:
        return self.chance.choice(ODD)

    def file(self) -> dict[str, Any]:
        return file_of(self.world)

    def key(self) -> str:
        keys = edit.keys(self.file())
        return self.chance.choice(keys) if keys and self.chance.random() < 0.95 else self.odd()

    def place(self) -> dict[str, str]:
        chance = self.chance
        return {
            "parent": self.key() if chance.random() < 0.7 else "",
            "branch": chance.choice(["then", "yes", "no", "steps", "odd"]),
            "nth": chance.choice(["0", "1", "5", "-1", "x"]),
            "around": chance.choice(["", "1"]),
        }

    def fields(self, do: str) -> list[tuple[str, str]]:
        chance, key = self.chance, self.key()
        if do == "insert":
            return [("type", chance.choice(self.types)), *self.place().items()]
        if do in ("move", "copy"):
            return [("step", key), *(self.place().items() if chance.random() < 0.8 else ())]
        if do == "rename":
            return [("step", key), ("key", chance.choice([self.odd(), "fresh", self.key()]))]
        if do == "redirect":
            return [("from", self.key()), ("to", chance.choice([self.key(), ""]))]
        if do == "choose":
            return [("choice", chance.choice(["backfill", "reschedule", "x"])), ("backfill", "1")]
        if do == "yaml":
            text = write(service.without_choices(self.file()))
            return [("text", self.odd() if chance.random() < 0.3 else self.damaged(text))]
        if do in ("set", "settings", "preview", "count"):
            asked = "settings=1" if do == "settings" else f"step={_quoted(key)}"
            answer = self.builder.http.get(f"{self.builder.base}?{asked}")
            page = answer.text
            assert answer.status_code in (200, 400), (asked, page[-500:])
            if 'id="panel"' not in page:
                return []
            panel = page[page.index('id="panel"') : page.index('id="effects"')]
            found = fields_of(panel) if 'method="post"' in panel and "</form>" in panel else []
            found = [each for each in found if each[0] not in ("csrf", "revision", "do")]
            for n in chance.sample(range(len(found)), min(len(found), chance.choice([0, 1, 1, 2, 5]))):
                found[n] = (found[n][0], self.odd())
            if "rows-do" in panel or chance.random() < 0.2:
                lists = ("events:type", "dates:date", "exit:event", "exit:segment", "exit:rule")
                removes = ("exit:0", "events:0", "dates:0", "exit:9", "exit:x")
                pressed = chance.choice(
                    [f"add:{chance.choice(lists)}", f"remove:{chance.choice(removes)}", self.odd(), ""]
                )
                found.append(("rows-do", pressed))
            if chance.random() < 0.3:
                found.append(("goal-kind", chance.choice(["goal-event", "goal-rule", "", "yaml", self.odd()])))
            for name in dict.fromkeys(name[:-5] for name, _value in found if name.endswith("_part")):
                if chance.random() < 0.5:
                    found.append(
                        (
                            f"{name}_do",
                            chance.choice(["add:", "group:", "remove:0", "add:0", "up:1", "type", self.odd()]),
                        )
                    )
                    found.append((f"{name}_new.", self.chance.choice(self.types).split(" ")[1]))
            return found
        return [("step", key)] if do not in ("undo", "redo") else []

    def damaged(self, text: str) -> str:
        """Return a file with a value, a name or a line changed."""
        lines = text.splitlines()
        n = self.chance.randrange(len(lines))
        if self.chance.random() < 0.2:
            del lines[n]
        else:
            lines[n] = re.sub(r":.*", lambda _found: f": {self.odd()}", lines[n])
        return "\n".join(lines)

    def does(self, revision: str, csrf: str) -> None:
        do = self.chance.choice(OPERATIONS)
        path = self.builder.base + (f"/{do}" if do in ("preview", "count") else "")
        given = [("csrf", csrf), ("revision", revision), ("do", do), *self.fields(do)]
        self.log = [do, given]
        body = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in given)
        params = {"rule": "with-rule"} if do == "count" else {}
        answer = self.builder.http.post(
            path,
            content=body,
            params=params,
            headers={"content-type": "application/x-www-form-urlencoded", "accept": "text/html"},
        )
        assert answer.status_code in (200, 204, 400, 404, 422), (self.log, answer.text[-500:])

    def stands(self) -> tuple[str, str]:
        """Check the draft and its pages; return its revision and the proof of its forms."""
        key = self.key()
        asked = self.chance.choice([*PAGES, f"step={key}", f"step={key}", f"moving={key}", f"only={key}"])
        name, _sign, value = asked.partition("=")
        answer = self.builder.http.get(f"{self.builder.base}?{name}={_quoted(value)}")
        if "\0" in asked:
            assert answer.status_code == 400
            answer = self.builder.http.get(self.builder.base)
        assert answer.status_code == 200, (self.log, asked, answer.text[-500:])
        data = service.without_choices(self.file())
        keys = edit.keys(data)
        assert len(keys) == len(set(keys)), self.log
        assert edit.normalised(with_notes(_PATH, write(data))) == edit.normalised(data), self.log
        (seen,) = set(re.findall(r'data-revision="(\d+)"', answer.text))
        return seen, token_of(answer)


def _quoted(text: str) -> str:
    """Return a text as an address and a form have it, halves of characters too."""
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


@pytest.fixture
def builder(client: Client, world: World) -> Builder:
    return Builder(client(), "/campaigns/c/build")


# Two orders here; whoever looks for more gives other numbers.
@pytest.mark.parametrize("seed", [4, 6])
def test_whatever_is_done_the_draft_stays_one_and_every_page_opens(builder: Builder, world: World, seed: int) -> None:
    builder.does("set", step="hello", name="Say hello", when="now", **{"with-points": "2"})
    editor = Editor(builder, world, seed)
    for n in range(OPERATIONS_OF_A_RUN):
        revision, csrf = editor.stands()
        before = editor.file()
        editor.does(revision, csrf)
        after = editor.file()
        if editor.log[0] not in ("undo", "redo") and n % 3 == 0 and after != before:
            assert "Undone" in text_of(builder.does("undo").text), editor.log
            assert editor.file() == before, editor.log
            builder.does("redo")
            assert editor.file() == after, editor.log
        if n % 10 == 0:
            assert builder.review().status_code in (200, 409), editor.log
