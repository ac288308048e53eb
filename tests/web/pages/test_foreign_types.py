"""The builder with step types of another package, whatever their schema says and their code does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from enum import Enum, IntEnum
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, model_validator

from parcours.domain.campaign_file import edit
from parcours.domain.steps import registry
from parcours.domain.steps.registry import action, condition, decision
from parcours.domain.steps.types import Properties, RefersTo, StepType
from parcours.producers.files.campaigns import write
from parcours.web.pages import panels
from parcours.web.security.access import FormBody
from tests.web.conftest import Client
from tests.web.pages.test_builder import Builder, file_of, world
from tests.web.pages.test_draft_rules import Panel
from tests.web.pages.test_overview_pages import text_of
from tests.workers.worlds import World

__all__ = ["world"]

Install = Callable[..., None]


class _Point(NamedTuple):
    """An entry point that is not installed."""

    made: StepType
    value: str = "tests"

    def load(self) -> StepType:
        return self.made


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make types known, as those of an installed package are."""
    ours = dict(registry._entry_points())

    def known(*types: StepType) -> None:
        points: Any = {**ours, **{f"{each.kind}.{each.name}": _Point(each) for each in types}}
        monkeypatch.setattr(registry, "_entry_points", lambda: points)
        registry.step_type.cache_clear()

    yield known
    registry.step_type.cache_clear()


@pytest.fixture
def builder(client: Client, world: World) -> Builder:
    return Builder(client(), "/campaigns/c/build")


def typed(properties: type[Properties], **more: Any) -> StepType:
    return action("other.odd", properties=properties, **more)(lambda batch: [])


def with_schema(schemas: Mapping[str, Any], whole: Any = None) -> type[Properties]:
    """Return properties that take anything, and whose schema says something else."""
    said = {"properties": dict(schemas), "additionalProperties": False} if whole is None else whole

    def schema(cls: Any, /, **_given: Any) -> Any:
        return copy.deepcopy(said)

    names = {name: Any for name in schemas if name.isidentifier()}
    own = {"__annotations__": names, **dict.fromkeys(names), "model_config": ConfigDict(extra="allow")}
    return type("Odd", (Properties,), {**own, "model_json_schema": classmethod(schema), "__module__": "other"})


def holding(builder: Builder, given: Any) -> None:
    """Begin a draft with one step of the type, as its file has it."""
    step = {"step": "odd", "action": "other.odd", "with": given}
    builder.does("yaml", text=write({"sources": {"segments": ["everyone"]}, "steps": [step]}))


def kept(world: World) -> Any:
    return edit.find(file_of(world), "odd").step.get("with")


# What no form may change: every schema that there can be, with every value.

TEXTS = ("", "a", " a ", "a\nb", "true", "1", "null", "😀", "a: b", "x, y", "[1]", "- a", "0x1", "1e3", "~", '"q"')
ODD_TEXTS = ("2026-01-01", "a\r\nb", "é\u2028b", "\tx", "<b>", "&amp;", "{{ name }}", "{% for")
NAMES = ("points", "text", "value", "operator", "field", "rule", "a b", "a.b", "a[0]", "__proto__", "more", "é")
TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
texts = st.sampled_from(TEXTS + ODD_TEXTS)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3), max_leaves=5
)
plain_schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), max_size=3, unique=True) | st.just(5),
        "enum": st.lists(scalars, max_size=4) | st.just("a"),
        "const": scalars,
        "default": values,
        "minimum": scalars,
        "maximum": scalars,
        "description": texts | st.just(5),
        "title": texts,
        "$ref": st.sampled_from(["#/$defs/Choice", "#/$defs/Circle", "#/$defs/none", "#", "https://example.com/", 5]),
        "items": st.booleans() | st.fixed_dictionaries({"type": st.sampled_from(TYPES)}),
    },
)
schemas = st.recursive(
    st.booleans() | plain_schemas | plain_schemas | plain_schemas,
    lambda below: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": below}),
        st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(texts, below, max_size=2)}),
        *(st.fixed_dictionaries({name: st.lists(below, max_size=3)}) for name in ("anyOf", "oneOf", "allOf")),
        st.fixed_dictionaries({"patternProperties": st.dictionaries(texts, below, max_size=2)}),
    ),
    max_leaves=3,
)
DEFINITIONS = {"Choice": {"enum": ["a", "b"]}, "Circle": {"$ref": "#/$defs/Circle"}}
cases = st.dictionaries(st.sampled_from(NAMES), st.tuples(schemas, values), min_size=1, max_size=4)


def sent(fields: list[panels.PanelWidget]) -> FormBody:
    """Return what a browser sends of fields that nobody touched."""
    pairs = []
    for each in fields:
        text = each.value.replace("\r\n", "\n").replace("\r", "\n")
        if each.kind == "check":
            pairs += [(each.id, "1")] if each.value else []
        elif each.kind == "choice":
            among = [choice.value for choice in each.choices]
            pairs.append((each.id, each.value if each.value in among else [*among, ""][0]))
        elif each.kind in ("area", "lines", "yaml"):
            pairs.append((each.id, text.replace("\n", "\r\n")))
        else:
            pairs.append((each.id, text.replace("\n", "")))
    return FormBody(pairs)


@settings(max_examples=120, deadline=None, database=None)
@given(cases)
def test_a_panel_that_nobody_touches_changes_nothing(case: dict[str, tuple[Any, Any]]) -> None:
    whole: dict[str, Any] = {
        "properties": {name: schema for name, (schema, _value) in case.items()},
        "additionalProperties": False,
        "$defs": DEFINITIONS,
    }
    found = typed(with_schema(dict.fromkeys(case, True), whole))
    holds = {name: value for name, (_schema, value) in case.items()}
    shown = panels.widgets(found, holds, {}, ())
    after = panels.properties_of(found, holds, sent(shown))
    told = {name: value for name, value in holds.items() if value is not None}
    assert repr({name: after[name] for name in told}) == repr(told)
    # Nothing either where there was nothing, but answers to what has to be answered.
    assert panels.properties_of(found, {}, sent(panels.widgets(found, {}, {}, ()))).keys() <= {
        name for name, each in whole["properties"].items() if isinstance(each, dict) and "default" not in each
    }


@settings(max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(cases)
def test_a_page_of_any_schema_opens_and_keeps_what_is_there(
    builder: Builder, world: World, install: Install, case: dict[str, tuple[Any, Any]]
) -> None:
    install(typed(with_schema({name: schema for name, (schema, _value) in case.items()})))
    holds = {name: value for name, (_schema, value) in case.items()}
    holding(builder, holds)
    before = kept(world)
    panel = Panel(builder, step="odd")
    panel.press()
    assert kept(world) == before
    panel.press(name="Renamed")
    assert edit.keys(file_of(world)) == ["renamed"]
    assert edit.find(file_of(world), "renamed").step.get("with") == before


# What a package may well have.


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Shop(Properties):
    colour: Colour = Colour.RED
    size: Size
    count: Literal[1, 2, 3] = 1
    mixed: Literal[1, "one", True] | None = None
    only: Literal["here"] = "here"
    sure: bool | None = None
    agreed: bool
    text: str | None = None
    names: list[str] = Field(default=[])
    operator: str = "any"
    many: list[Colour] = Field(default=[], description="Colours.")


def test_choices_are_kept_as_what_they_are(builder: Builder, world: World, install: Install) -> None:
    install(typed(Shop))
    holding(builder, {})
    panel = Panel(builder, step="odd")
    assert '<option value="red"' in panel.page
    said = panel.press(**{"with-colour": "blue", "with-size": "2", "with-count": "3", "with-mixed": "true"})
    assert kept(world) == {"colour": "blue", "size": 2, "count": 3, "mixed": True, "agreed": False}
    assert "error to fix" not in said
    panel.press(**{"with-sure": "false", "with-operator": "Telephone & Co", "with-many": "red\nblue"})
    assert kept(world)["sure"] is False
    assert kept(world)["operator"] == "Telephone & Co"
    assert kept(world)["many"] == ["red", "blue"]
    panel.press(**{"with-sure": "", "with-mixed": "one"})
    assert "sure" not in kept(world)
    assert kept(world)["mixed"] == "one"


def test_a_value_of_another_shape_is_shown_as_yaml_and_can_be_changed(
    builder: Builder, world: World, install: Install
) -> None:
    install(typed(Shop))
    holding(builder, {"size": 1, "agreed": "perhaps", "names": ["a\nb", 5], "text": {"a": [1]}})
    panel = Panel(builder, step="odd")
    panel.press(**{"with-text": "a:\n- 2"})
    assert kept(world) == {"size": 1, "agreed": "perhaps", "names": ["a\nb", 5], "text": {"a": [2]}}
    panel.press(**{"with-text": "plain", "with-names": "a\nb", "with-agreed": "true"})
    # What reads as a text is a text.
    assert kept(world) == {"size": 1, "agreed": True, "names": "a b", "text": "plain"}


class Node(Properties):
    name: str
    below: list[Node] = Field(default=[])


def schemas_fail(cls: Any, /, **_given: Any) -> Any:
    raise RuntimeError("no schema")


@pytest.mark.parametrize(
    "properties",
    [
        type("Fails", (Shop,), {"model_json_schema": classmethod(schemas_fail), "__module__": "other"}),
        with_schema({}, True),
        with_schema({}, False),
        with_schema({}, {}),
        with_schema({}, {"type": "object", "patternProperties": {"^a": {"type": "string"}}}),
        with_schema({}, {"oneOf": [{"type": "object"}, {"$ref": "#/$defs/A"}], "$defs": {}}),
        with_schema({}, {"properties": [], "additionalProperties": {"type": "string"}}),
    ],
)
def test_properties_that_cannot_be_told_apart_are_written_as_yaml(
    builder: Builder, world: World, install: Install, properties: type[Properties]
) -> None:
    install(typed(properties))
    holding(builder, {"a": {"b": [1, None]}})
    panel = Panel(builder, step="odd")
    assert "Properties, as YAML" in panel.page
    panel.press(name="Same")
    assert edit.find(file_of(world), "same").step["with"] == {"a": {"b": [1, None]}}
    Panel(builder, step="same").press(raw="b: 2")
    assert edit.find(file_of(world), "same").step["with"] == {"b": 2}


def test_properties_that_hold_themselves_have_their_fields(builder: Builder, world: World, install: Install) -> None:
    install(typed(Node))
    holding(builder, {})
    panel = Panel(builder, step="odd")
    said = panel.press(**{"with-name": "Anna", "with-below": "- name: Berta\n  below: [{name: Carl}]"})
    assert kept(world) == {"name": "Anna", "below": [{"name": "Berta", "below": [{"name": "Carl"}]}]}
    assert "error to fix" not in said


def test_a_list_of_thousands_is_no_list_to_choose_from(builder: Builder, world: World, install: Install) -> None:
    among = [f"c{n}" for n in range(5_000)]
    huge: Any = type("Huge", (Properties,), {"__annotations__": {"code": Literal[tuple(among)]}, "__module__": "other"})
    install(typed(huge))
    holding(builder, {})
    panel = Panel(builder, step="odd")
    assert len(panel.page) < 200_000
    panel.press(**{"with-code": "c4999"})
    assert kept(world) == {"code": "c4999"}
    assert "error to fix" not in text_of(panel.page)
    panel.press(**{"with-code": "nowhere"})
    assert "error to fix" in text_of(panel.page)
    assert len(panel.page) < 200_000


def test_texts_of_a_package_cannot_break_a_page(builder: Builder, world: World, install: Install) -> None:
    odd: Any = with_schema({'a"b<i>': {"type": "string", "title": "<b>", "description": "<script>\ud83d 😀"}})
    made = action("other.odd", properties=odd, summary=lambda _given: "half \ud83d <i>")(describing)
    install(made)
    holding(builder, {'a"b<i>': "x"})
    for asked in ({"step": "odd"}, {"add": "1", "branch": "steps"}, {"yaml": 1}):
        assert "<script> " not in builder.page(**asked)
    panel = Panel(builder, step="odd")
    panel.press()
    assert kept(world) == {'a"b<i>': "x"}


def describing(batch: Any) -> list[Any]:
    """Half \ud83d of <b>it</b>."""
    return []


# Code of a package that fails.


class Fussy(Properties):
    segment: Any = None
    points: int = 1

    @model_validator(mode="after")
    def _checks(self) -> Fussy:
        if self.points == 13:
            raise RuntimeError("unlucky\n" + "x" * 1_000_000)
        if self.points == 14:
            raise SystemExit(3)
        return self


def raising(_given: Any) -> Any:
    raise KeyError("words")


def leaving(_given: Any) -> str:
    raise SystemExit(1)


PAGES: tuple[dict[str, Any], ...] = ({}, {"step": "odd"}, {"settings": 1}, {"q": "odd"}, {"add": 1, "branch": "steps"})


@pytest.mark.parametrize(
    "summary", [raising, leaving, lambda _given: 5, lambda _given: None, lambda _given: "x " * 500_000]
)
def test_a_type_whose_words_fail_goes_by_its_name_on_every_page(
    builder: Builder, world: World, install: Install, summary: Any
) -> None:
    install(typed(Fussy, summary=summary, refers_to={"segment": RefersTo.SEGMENT}))
    holding(builder, {"segment": "everyone"})
    for asked in PAGES:
        page = builder.page(**asked)
        assert len(page) < 300_000
    assert builder.review().status_code == 200
    assert "was changed" in text_of(builder.apply().text)
    world.run()
    for path in ("/campaigns", "/campaigns/c", "/campaigns/c/versions", "/campaigns/c/versions/2", "/contacts/anna"):
        answer = builder.http.get(path)
        assert answer.status_code == 200, path
        assert len(answer.text) < 300_000


@pytest.mark.parametrize("odd", [{"a": 1}, [{"a": 1}], [[1]], 5, True, ["everyone", None]])
def test_references_of_another_shape_are_no_failure_of_a_page(
    builder: Builder, world: World, install: Install, odd: Any
) -> None:
    install(typed(Fussy, refers_to={"segment": RefersTo.SEGMENT}))
    holding(builder, {"segment": odd})
    for asked in PAGES:
        builder.page(**asked)
    assert builder.review().status_code == 200
    panel = Panel(builder, step="odd")
    panel.press()
    assert kept(world) == {"segment": odd}


@pytest.mark.parametrize("points", [13, 14])
def test_a_check_that_fails_is_said_in_a_line_and_the_draft_stays(
    builder: Builder, world: World, install: Install, points: int
) -> None:
    install(typed(Fussy))
    holding(builder, {"points": points})
    for asked in PAGES:
        assert len(builder.page(**asked)) < 200_000
    assert "failed to check this" in text_of(builder.page(step="odd"))
    panel = Panel(builder, step="odd")
    panel.press(**{"with-points": "7"})
    assert kept(world) == {"points": 7}


def test_a_decision_and_a_condition_whose_code_fails_leave_every_page_open(
    builder: Builder, world: World, install: Install
) -> None:
    install(
        decision("other.odd", properties=Fussy, events=raising, summary=raising)(lambda *_given: True),
        condition("other.odd", properties=Fussy, says=raising, needs=raising, reads=raising)(lambda batch: []),
    )
    steps = [{"step": "odd", "decision": "other.odd", "within": "1 day"}, {"step": "b", "condition": "other.odd"}]
    builder.does("yaml", text=write({"sources": {"segments": ["everyone"]}, "steps": steps}))
    for asked in (*PAGES, {"step": "b"}):
        builder.page(**asked)
    assert "failed to check this" in text_of(builder.page(step="odd"))
    assert "failed to check this" in text_of(builder.page(step="b"))
    assert "Not ready yet" in text_of(builder.review().text)
    assert builder.apply().status_code == 409
    for path in ("/campaigns", "/campaigns/c", "/campaigns/c/versions", "/campaigns/c/build"):
        assert builder.http.get(path).status_code == 200, path
