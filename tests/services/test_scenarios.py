"""Scenarios of campaign authors: what they may say, and what a failure tells."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from parcours.db.engine import connect
from parcours.producers.files import scenarios as files
from parcours.producers.files.scenarios import UnreadScenario
from parcours.services import junit, scenarios
from parcours.services.sandbox import NewWorld, Sandbox, worlds
from parcours.services.scenarios import ScenarioFailure, ScenarioResult

UTC = ZoneInfo("UTC")

CAMPAIGN = """
campaign: welcome
sources: {segments: [newsletter], forms: [signup]}
steps:
  - step: hello
    action: email.send
    with: {email: welcome-1}
    after: 1 day
    then:
      - step: opened
        decision: email.open
        yes:
          - {step: score, action: contact.points, with: {points: 5}}
        no:
          - {step: remind, action: email.send, with: {email: welcome-2}, after: 3 days}
"""
HEAD = """
campaign: campaign.yaml
start: 2026-03-02T09:00:00+01:00
contacts: [{key: ann, timezone: Europe/Paris, fields: {country: FR}}]
steps:
"""

Play = Callable[..., list[ScenarioResult]]


@pytest.fixture(scope="module")
def new_world(server: str) -> Iterator[NewWorld]:
    with worlds(server) as made:
        yield made


@pytest.fixture
def play(new_world: NewWorld, tmp_path: Path) -> Play:
    """Run one scenario, given as its steps or as a whole, beside `campaign.yaml` and further files."""

    def run(steps: str, *, head: str = HEAD, **more: str) -> list[ScenarioResult]:
        for name, content in {"campaign": CAMPAIGN, **more}.items():
            (tmp_path / f"{name}.yaml").write_text(content, encoding="utf-8")
        path = tmp_path / "scenario.yaml"
        path.write_text(head + textwrap.indent(textwrap.dedent(steps).strip("\n"), "  "), encoding="utf-8")
        found = files.read(path, default_zone=UTC)
        return [
            scenarios._unread(each) if isinstance(each, UnreadScenario) else scenarios.run(each, new_world)
            for each in found
        ]

    return run


def told(results: list[ScenarioResult]) -> list[str]:
    return [f"{failure.line}: {failure.sentence}" for each in results for failure in each.failures]


def test_a_scenario_of_steps_and_expectations_passes(play: Play) -> None:
    results = play(
        """
        - {at: 0 days, enters: newsletter}
        - {at: 1 day, expect: {sent: hello, waits: opened}}
        - {at: 2 days, does: {type: email.opened, data: {email: hello}}}
        - {at: 2 days, expect: {step: opened, result: "yes"}, points: 5}
        - {at: 2 days, expect: {sent: {email: welcome-1, times: 1}, waits: none, fields: {country: FR}}}
        - {at: 10 days, expect: {in: newsletter, not: {sent: remind, step: remind, tags: x}}}
        """
    )
    assert told(results) == []


def test_a_failure_says_line_expectation_what_came_and_the_path_so_far(play: Play) -> None:
    (result,) = play(
        """
        - {enters: newsletter}
        - at: 1 day
          expect: {sent: remind}
        - {at: 5 days, expect: {step: opened, result: yes}, points: 5}
        - {at: 8 days, expect: {not: {sent: remind}, waits: opened}}
        """
    )
    assert told([result]) == [
        "8: ann: expected remind sent; sent so far: welcome-1 by hello at 2026-03-03T08:00:00Z",
        "9: ann: expected the result yes at opened; its result is no, at 2026-03-06T08:00:00Z",
        "9: ann: expected 5 points; it has 0",
        "10: ann: expected not: remind sent; sent so far: welcome-1 by hello at 2026-03-03T08:00:00Z, welcome-2 by "
        "remind at 2026-03-06T08:00:00Z",
        "10: ann: expected that it waits at opened; it waits nowhere",
    ]
    path = result.failures[1].path
    assert path[0] == "Path of ann so far, times in Europe/Paris:"
    assert "  Tue 2026-03-03 09:00 (1 day)  hello: done" in path
    assert path[-1] == "  Sat 2026-03-07 09:00 (5 days)  now: waits nowhere"
    assert not result.broken


def test_forms_segments_by_rule_policies_and_several_campaigns_can_take_part(play: Play) -> None:
    results = play(
        """
        - {submits: {form: signup, fields: {color: red}}}
        - {expect: {in: welcome, not in: [newsletter, belgium]}}
        - {at: 1 hour, changes: {fields: {country: BE}}}
        - {at: 1 hour, expect: {in: [belgians, belgium]}}
        - {at: 2 hours, campaign: belgium, expect: {step: hello, result: done}, stage: hot, tags: [came, seen]}
        - {at: 2 hours, campaign: welcome, expect: {waits: hello, not: {step: hello}}}
        - {at: 3 hours, changes: {fields: {country: FR}}}
        - {at: 3 hours, expect: {not in: [belgians, belgium], left: {campaign: belgium, reason: segment}}}
        - {at: 20 hours, enters: newsletter}
        # Quiet hours hold the message of 9:00 until the evening.
        - {at: 1 day, expect: {sent: none, in: newsletter}}
        - {at: 2026-03-03T20:30:00+01:00, expect: {sent: {email: welcome-1, subject: Good day, text: you}}}
        - {at: 3 days, does: {type: email.bounced, data: {email: hello}}}
        """,
        head=HEAD.replace(
            "campaign: campaign.yaml",
            "campaigns: [campaign.yaml, belgium.yaml]\nsegments: belgians.yaml\n"
            "policies: policy.yaml\nemails: mails.yaml",
        ),
        belgium="{campaign: belgium, sources: {segments: [belgians]}, steps: [{step: hello, action: contact.tags, "
        "with: {add: [came, seen]}, after: 1 hour, then: [{action: contact.stage, with: {stage: hot}}]}]}",
        belgians="{segment: belgians, rule: {all: [{condition: contact.field, with: {field: country, operator: '=', "
        "value: BE}}]}}",
        policy="{channel: email, quiet_hours: {between: ['08:00', '20:00']}}",
        mails="{key: welcome-1, subject: Good day, text: Hello you}",
    )
    assert told(results) == []


SECOND = CAMPAIGN.replace("after: 3 days", "after: 1 day").replace("step: remind", "step: nudge")


def test_a_second_version_can_be_applied_and_the_campaign_be_paused_in_the_middle(play: Play) -> None:
    results = play(
        """
        - {enters: newsletter}
        - {at: 1 day, expect: {sent: hello, waits: opened}}
        - {at: 2 days, apply: second.yaml, expect: {waits: opened}}
        - {at: 3 days, pause: true}
        - {at: 6 days, publish: true, does: {type: email.opened, data: {email: hello}}}
        - {at: 7 days, expect: {step: nudge, result: done, not: {step: remind}}}
        """,
        second=SECOND,
    )
    assert told(results) == []


def test_nothing_happens_while_the_campaign_is_paused_and_a_version_does_not_publish_it(play: Play) -> None:
    results = play(
        """
        - {enters: newsletter}
        - {at: 2 hours, pause: welcome}
        - {at: 3 hours, apply: [second.yaml]}
        - {at: 4 days, expect: {sent: none, waits: hello}}
        - {at: 4 days, publish: [welcome]}
        - {at: 4 days, expect: {sent: hello}}
        - {at: 8 days, expect: {sent: nudge}}
        """,
        second=SECOND,
    )
    assert told(results) == []


def test_a_scenario_says_by_line_what_is_wrong_with_what_is_done_to_campaigns(play: Play) -> None:
    steps = """
        - {apply: 5}
        - {pause: false}
        - {publish: welcom}
        - {pause: true, campaign: other}
        - {apply: [other.yaml]}
        - {pause: [true, 7]}
        """
    results = play(steps, other=CAMPAIGN.replace("campaign: welcome", "campaign: welcom"))
    assert told(results) == [
        "6: 'apply' must name a file beside this one, not a number",
        "7: 'pause' must be true or the key of a campaign, as 'welcome', not false",
        "8: the files of this scenario have no campaign 'welcom'; did you mean 'welcome'?",
        "9: the files of this scenario have no campaign 'other'; known are welcome, welcom",
        "10: other.yaml is no campaign of this scenario, but 'welcom'; did you mean 'welcome'?",
        "11: 'pause' must be true or the key of a campaign, as 'welcome', not a number",
    ]
    results = play("- {at: 1 day, apply: second.yaml}", second="campaign: welcome\nsources: {forms: [f]}\nsteps: 5")
    assert told(results) == ["3: steps: must be a list of steps, not a number"]
    results = play("- {enters: newsletter}\n- {at: 1 day, apply: nowhere.yaml}")
    assert told(results) == ["7: nowhere.yaml: there is no such file"]
    two = HEAD.replace("campaign: campaign.yaml", "campaigns: [campaign.yaml, o.yaml]")
    results = play("- {pause: true}", head=two, o=CAMPAIGN.replace("campaign: welcome", "campaign: other"))
    assert told(results) == ["6: say which campaign: write 'pause: welcome'"]


def test_a_scenario_says_by_line_what_is_wrong_with_it(play: Play) -> None:
    results = play(
        """
        - {at: 2 days, enters: newsleter}
        - {at: 1 day, contact: anna, expect: {sent: hallo, wait: opened}}
        - {at: 9000 years, does: {type: email.opend}}
        - {does: order.paid}
        - {does: {type: email.opened, data: {email: hullo}}}
        - {result: yes, step: hello, results: {opened: maybe}}
        - {submits: singup, in: nowhere, points: many}
        - {}
        - soon
        """
    )
    assert told(results) == [
        "6: the files of this scenario have no segment, form or campaign 'newsleter'; did you mean 'newsletter'?",
        "7: 1 day is before 2 days; put the steps in the order of time",
        "7: the scenario has no contact 'anna'; did you mean 'ann'?",
        "7: unknown property 'wait'; did you mean 'waits'?",
        "7: the files of this scenario have no email, template or step 'hallo'; did you mean 'hello'?",
        "8: at: '9000 years' is not an interval: write a whole number and a unit, like '3 days' (minutes, hours, days, "
        "weeks, months or years), or ISO 8601, like 'P1DT2H', up to 100 years",
        "8: unknown event type 'email.opend'; did you mean 'email.opened'?",
        "9: nothing in this scenario looks at events of type 'order.paid'",
        "10: the files of this scenario have no email, or step that sends one, 'hullo'; did you mean 'hello'?",
        "11: a result is one of done, skipped, failed, yes, no, cancelled, not 'maybe'",
        "12: the files of this scenario have no form 'singup'; did you mean 'signup'?",
        "12: the files of this scenario have no campaign or segment 'nowhere'; known are welcome, newsletter",
        "12: 'points' must be a whole number, not text",
        "13: this step does nothing; add one of enters, leaves, submits, changes, does, apply, pause, publish or "
        "expect",
        "14: a step must be a mapping such as {at: 1 day, enters: newsletter}, not text",
    ]
    assert results[0].broken


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the scenario is empty; write campaign, start, contacts and steps"),
        ("[]", "a scenario must be a mapping with campaign, start, contacts and steps, not a list"),
        ("a: [", "the file is not valid YAML"),
        (
            HEAD.replace("2026-03-02", "9999-03-02") + "  - {enters: newsletter}",
            "start: 9999-03-02T09:00:00+01:00 is out of range",
        ),
        (
            HEAD.replace("2026-03-02", "0001-01-01") + "  - {enters: newsletter}",
            "start: 0001-01-01T09:00:00+01:00 is out of range",
        ),
        (HEAD + "  - {at: 9999-01-01, enters: newsletter}", "at: 9999-01-01T00:00:00+01:00 is out of range"),
        (HEAD.replace("campaign.yaml", "nowhere.yaml") + "  - {enters: x}", "nowhere.yaml: there is no such file"),
        (HEAD.replace("Europe/Paris", "Europe/Pari") + "  - {enters: x}", "timezone"),
        (HEAD.replace("ann,", '"\\uD83D",') + "  - {enters: x}", "incomplete character"),
        (HEAD + '  - {enters: "\\uD83D"}', "steps[0].enters: contains an incomplete character"),
        (HEAD + '  - {enters: x, changes: {"\\uD83D": 1}}', "steps[0].changes: contains an incomplete character"),
        (HEAD + "  - {enters: x}\n" * 2001, "a scenario has at most 2,000 steps"),
        (f"contacts: [{'x, ' * 1001}]\n", "a scenario has at most 1,000 contacts"),
        ("&a [*a]", "an alias cannot refer to a value that contains it"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_no_scenario_gets_a_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN, encoding="utf-8")
    path = tmp_path / "scenario.yaml"
    path.write_text(content, encoding="utf-8")
    (found,) = files.read(path, default_zone=UTC)
    assert isinstance(found, UnreadScenario)
    assert any(sentence in problem.sentence for problem in found.problems), found.problems


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nope.yaml", "nope.yaml: there is no such file"),
        ("broken.yaml", "goal: must be a mapping such as {event: order.paid, within: 14 days}, not a number"),
    ],
)
def test_a_campaign_file_that_cannot_be_read_is_the_only_problem_told(tmp_path: Path, name: str, sentence: str) -> None:
    (tmp_path / "broken.yaml").write_text(f"goal: 5\n{CAMPAIGN}", encoding="utf-8")
    path = tmp_path / "scenario.yaml"
    head = textwrap.dedent(HEAD).replace("campaign.yaml", name)
    path.write_text(head + "  - {at: 1 day, expect: {sent: hello, waits: opened}}\n", encoding="utf-8")
    (found,) = files.read(path, default_zone=UTC)
    assert isinstance(found, UnreadScenario)
    assert len(found.problems) == 1, found.problems
    assert sentence in str(found.problems[0])


def test_a_campaign_file_in_place_of_a_scenario_gets_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN, encoding="utf-8")
    (found,) = files.read(path, default_zone=UTC)
    assert isinstance(found, UnreadScenario)
    (problem,) = found.problems
    assert "this is the file of a campaign" in problem.sentence


def test_a_scenario_that_breaks_keeps_no_other_from_running(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    happen = Sandbox.happen

    def broken(world: Sandbox, happened: list[tuple[str, str, dict[str, object]]]) -> None:
        if any(type_ == "email.opened" for type_, _, _ in happened):
            raise RuntimeError("out of order\nsecond line")
        happen(world, happened)

    monkeypatch.setattr(Sandbox, "happen", broken)
    one = textwrap.dedent(HEAD).strip()
    indented = textwrap.indent(one, "  ").lstrip()
    results = play(
        "",
        head=f"- {indented}\n    - {{does: {{type: email.opened, data: {{email: hello}}}}}}\n"
        f"- {indented}\n    - {{at: 100 years, expect: {{sent: none}}}}\n",
    )
    assert told(results) == ["5: unexpected error (RuntimeError: out of order); please report it with the scenario"]
    assert [(each.passed, each.broken) for each in results] == [(False, True), (True, False)]


def test_a_scenario_that_never_ends_is_given_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "MOST_SECONDS", -1.0)
    results = play("- {enters: newsletter}\n- {at: 1 day, expect: {sent: hello}}")
    assert told(results) == ["6: it takes too long; simulate a shorter time, or fewer contacts"]


def test_scenarios_leave_no_database_behind(server: str, tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN, encoding="utf-8")
    path = tmp_path / "scenario.yaml"
    path.write_text(HEAD + "  - {enters: newsletter, expect: {waits: hello}}", encoding="utf-8")
    engine = connect(server)

    def databases() -> set[str]:
        with engine.connect() as conn:
            return set(conn.execute(text("SELECT datname FROM pg_database")).scalars())

    before = databases()
    try:
        (result,) = scenarios.run_scenarios([path], server)
        assert result.passed
        assert databases() == before
    finally:
        engine.dispose()


def test_junit_is_well_formed_with_any_text() -> None:
    nasty = "]]> <&\"' \x00\x01\x0b\ud83d \N{GRINNING FACE} \ufffe"
    failed = ScenarioFailure(Path(nasty), 3, nasty, (nasty,))
    results = [
        ScenarioResult(nasty, Path(nasty), 1, 0.5, (failed,)),
        ScenarioResult("broken", Path("b.yaml"), 1, 0, (failed, failed), broken=True),
        ScenarioResult("fine", Path("b.yaml"), 9, 0.25),
    ]
    root = ElementTree.fromstring(junit.document(results))
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    cases = root.findall("testsuite/testcase")
    assert [each.get("name") for each in cases][1:] == ["broken", "fine"]
    assert [[child.tag for child in each] for each in cases] == [["failure"], ["error"], []]
