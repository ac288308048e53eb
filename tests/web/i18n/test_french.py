"""No English is left on pages that a French reader gets: neither of the pages nor of the engine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours import domain
from parcours.db.partitions import ensure_partitions
from parcours.db.tables import campaigns, emails, forms
from parcours.db.tables.emails import Email
from parcours.domain.steps.registry import all_types
from parcours.domain.steps.types import Failed
from parcours.web.i18n.language import Reader, _, catalogue, speaking
from parcours.web.i18n.sentences import sentences, told
from parcours.web.i18n.typography import spaced
from tests.web.conftest import Client
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.worlds import START, Moody, World, at

FRENCH = Reader("fr")
# Words of every English sentence that are none of a French one.
ENGLISH = re.compile(
    r"\b(?:the|of|is|are|and|to|with|without|this|that|not|no|it|its|from|for|at|by|be|was|were|will|has|have|only|"
    r"must|cannot|can|each|any|all|your|you|name|key|step|steps|contact's|waits?|true|false)\b",
    re.IGNORECASE,
)
# What is the same in both, and what the reader or a program wrote: names in quotes, code.
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|«[^»]*»|“[^”]*”|\([^)]*→[^)]*\)|\{[^}]*\}")
KEPT = re.compile(r"\b(?:true|false)\b|\bto, cc\b|Propriétés : .*|\bsteps\[\S*|\b\w+(?:\.\w+)+")
TREE = """
- step: bonjour
  name: Dire bonjour
  action: contact.points
  with: {points: 1}
  after: 1 jour
  then:
    - step: visite
      decision: page.hit
      with: {url: "*"}
      within: 3 jours
      yes: [{step: chaud, action: contact.tags, with: {add: [chaud]}}]
      no: [{step: froid, action: email.send, with: {email: salut}}]
- step: humeur
  name: Humeur
  action: test.moody
- step: lettre
  action: email.send
  with: {email: absent}
- step: pays
  condition: contact.field
  with: {field: country, operator: "=", value: FR}
"""


def left_over(said: str) -> str | None:
    """Return the first English word in what a French reader is told."""
    found = ENGLISH.search(KEPT.sub("", QUOTED.sub("", said)))
    return None if found is None else found[0]


def words_of(page: str) -> Iterator[str]:
    """Yield the texts of a page that people read, without code and what they typed."""
    body = re.sub(r"(?s)<(script|style|code|pre|textarea|datalist|time)\b.*?</\1>", "<>", page)
    body = re.sub(r'(?s)<(\w+) [^>]*lang="en"[^>]*>.*?</\1>', "<>", body)
    for found in re.findall(r'(?:title|aria-label|placeholder|data-[a-z-]*)="([^"]*)"|>([^<]+)', body):
        said = unescape(found[0] or found[1]).strip()
        if said and not said.startswith("/"):
            yield re.sub(r"\s+", " ", said)


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Moody()
    made.install(monkeypatch)
    made.moods = {"marc": Failed("panne", retry=False), "luc": Failed("panne")}


@pytest.fixture
def world(engine: Engine, tmp_path: Path, moody: None) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.contacts("anne", segment="everyone", country="FR", timezone="Europe/Paris")
    made.contacts("marc", "luc", segment="everyone")
    made.segment("prive", public=False)
    made.campaign(TREE, name="Bienvenue")
    made.campaign("- {step: seule, action: contact.points, with: {points: 1}}", key="attente", published=False)
    with engine.begin() as conn:
        emails.save(conn, Email("salut", "Bonjour", None, "Bonjour {{ contact.key }}", None, True), now=START)
        forms.create(conn, "contact", "Contactez-nous", standalone=False)
    made.run()
    made.run(at(2))
    made.run(at(7))
    made.remove("luc", at(7))
    return made


def crawled(http: TestClient, start: str) -> Mapping[str, str]:
    """Return every page that links lead to."""
    found: dict[str, str] = {}
    waiting = [start]
    while waiting:
        address = waiting.pop()
        if address in found:
            continue
        answer = http.get(address)
        if "text/html" not in answer.headers.get("content-type", ""):
            continue
        found[address] = answer.text
        for link in map(unescape, re.findall(r'(?:href|src|hx-get)="(/[^"#]*)"', answer.text)):
            waiting += [link] if link not in found and not link.startswith(("/static", "/api")) else []
    return found


def test_no_english_is_left_on_any_page_that_links_lead_to(client: Client, world: World) -> None:
    world.campaign("- {step: x, action: contact.points, with: {points: 1}}", key="abimee")
    world.write(
        "UPDATE campaign_version SET definition = "
        "jsonb_set(CAST(definition AS jsonb), '{steps,0,action}', '\"no.such\"') "
        "WHERE campaign_id = (SELECT id FROM campaign WHERE key = 'abimee')"
    )
    campaigns._loaded.clear()
    http = client()
    http.headers["accept-language"] = "fr"
    pages = crawled(http, "/campaigns")
    assert len(pages) > 40
    english = catalogue("fr").keys() - set(catalogue("fr").values())
    wrong = {
        (address, said)
        for address, page in pages.items()
        for said in words_of(page)
        if said != Moody.run.__doc__ and (said in english or left_over(said))
    }
    assert wrong == set()


def test_errors_and_the_sign_in_are_in_french(client: Client, world: World, engine: Engine) -> None:
    http = client()
    http.headers.update({"accept-language": "fr", "accept": "text/html"})
    given_user(engine)
    strict = client(open_to_all=False)
    strict.headers.update({"accept-language": "fr", "accept": "text/html"})
    answers = [
        http.get("/campaigns/nulle-part"),
        http.get("/campaigns/attente/rien"),
        http.get("/contacts/personne"),
        http.get("/rien"),
        http.get("/campaigns", params={"page": "x"}),
        http.post("/campaigns/attente/publish", data={"csrf": "x"}),
        http.post("/segments", data={"csrf": token_of(http.get("/segments")), "key": ""}),
        http.post("/campaigns/attente/clone", data={"csrf": token_of(http.get("/segments")), "key": "attente"}),
        http.post("/campaigns/attente/clone", data={"csrf": token_of(http.get("/segments")), "key": "É"}),
        http.get("/emails/salut?contact=personne"),
        http.get("/t/c/x"),
        http.get("/unsubscribe/x"),
        strict.get("/sign-in"),
        sign_in(strict, "nobody@example.com"),
    ]
    assert [answer.status_code for answer in answers[:4]] == [404, 404, 404, 404]
    wrong = {(str(answer.url), said) for answer in answers for said in words_of(answer.text) if left_over(said)}
    assert wrong == set()


def test_emails_in_files_are_shown_in_french() -> None:
    with speaking(FRENCH):
        assert _("No emails in {folder} yet.", folder="x") == "Pas encore d’e-mails dans x."


PROBLEMS = """
- {step: a, acton: x}
- {step: a, action: contact.points, decision: page.hit}
- {step: "é", action: contact.point}
- {step: b, action: page.hit}
- {step: c, action: contact.points, with: {points: 0}}
- {step: d, action: contact.points, with: {points: true, pints: 3}}
- {step: e, action: contact.points}
- {step: f, action: contact.points, with: [1], within: 2 days}
- {step: g, action: contact.tags, with: {}, after: 3 dys, at: 2026-01-01}
- {step: h, action: contact.tags, with: {add: []}, hour: "25:00", between: ["09:00"], days: [mun]}
- {step: i, action: contact.stage, with: {stage: ""}, max_attempts: 0, on_failure: go}
- {step: j, decision: page.hit, after: 1 day, max_attempts: 3, then: [], no: [{step: k, decision: page.hit}]}
- {step: l, decision: page.hit, no: [{step: m, action: contact.delete, then: [{step: n, action: contact.delete}]}]}
- {step: o, action: campaign.jump, with: {to: nowhere}}
- {step: p, action: campaign.jump, with: {to: j}}
- {step: q, action: campaign.jump, with: {to: o}}
- {step: r, action: campaign.change, with: {add: this}}
- {step: s, decision: email.open}
- {step: t, condition: split.random, with: {percent: 200}}
- {step: u, condition: contact.field, with: {field: x, operator: equal, value: 1}}
- {step: v, condition: contact.field, with: {field: x, operator: in, value: []}}
- {step: w, action: email.send, with: {email: x, kind: other}}
- {step: x, action: webhook.send, with: {url: "ftp://x"}}
- {step: y, action: contact.update, with: {fields: {email: nobody}}}
- {step: z, condition: contact.campaigns, with: {campaigns: [x], added: {operator: gt, date: soon}}}
- {step: aa, action: contact.tags, with: {add: ["a;b", ";"]}}
- {step: ab, action: contact.tags, with: {add: [";"]}}
- just text
"""


def test_what_is_wrong_with_a_campaign_is_told_in_french(client: Client, world: World) -> None:
    http = client()
    http.headers["accept-language"] = "fr"
    given = {
        "csrf": token_of(http.get("/campaigns/+new")),
        "key": "Ä",
        "publish_from": "hier",
        "timezone": "Europe/Pari",
        "cooldown": "3 dys",
        "grace": "-2 days",
        "rate": "fast",
        "catch_up": "skip",
        "reentry": "often",
        "segments": ["nowhere"],
        "steps": PROBLEMS,
    }
    page = http.post("/campaigns/+new", data=given).text
    told_there = re.findall(r"(?s)<(?:span|li)>([^<]+)</(?:span|li)>", page)
    assert len(told_there) > 30
    assert {each for each in map(unescape, told_there) if left_over(each)} == set()


def said_in(module: Path) -> Iterator[tuple[int, str]]:
    """Yield the sentences that a module says: what it raises, reports or skips with. What is filled in is `'x'`."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in SAYING or (called.endswith("Error") and called not in NOT_TOLD):
            for argument in node.args:
                for each in _texts(argument):
                    yield node.lineno, each


SAYING = {"say", "refuse", "Skipped", "Failed", "Cancelled", "GaveUp", "Retry", "Bounced", "RejectedRow"}
# Their texts are of the command line and the log.
NOT_TOLD = {"TypeError", "NotImplementedError", "UnknownStepError", "CommandError", "PolicyError"}


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(each.value) if isinstance(each, ast.Constant) else _filled(each) for each in node.values)


def _filled(node: ast.expr) -> str:
    """Return something to fill in. Hints, which may follow, are sentences of their own."""
    written = ast.unparse(node.value if isinstance(node, ast.FormattedValue) else node)
    if written == "state":
        return "is not published"
    return "" if re.search("hint|quotes|did_you_mean", written) else "'x'"


TOLD_ON_PAGES = [
    *(f"domain/campaign_file/{name}.py" for name in ("build", "check", "graph", "sentences")),
    *(f"domain/time/{name}.py" for name in ("intervals", "schedule")),
    *("domain/messages/rate.py", "domain/messages/templates.py", "domain/contacts/identity.py", "domain/operators.py"),
    *(f"domain/steps/{path.name}" for path in sorted((Path(domain.__file__).parent / "steps").glob("*.py"))),
    *("services/campaign_plan.py", "services/campaign_changes.py", "producers/files/campaigns.py"),
    *("domain/messages/bounded_liquid.py", "domain/walk/walk.py", "web/forms.py"),
    *(f"workers/delivery/{name}.py" for name in ("claim", "compose", "network")),
    *(f"producers/files/{name}.py" for name in ("csv_rows", "contacts", "ndjson", "workbook", "columns")),
    *(f"workers/delivery/providers/{name}.py" for name in ("http", "smtp", "webhook")),
]


@pytest.mark.parametrize("name", TOLD_ON_PAGES)
def test_every_sentence_of_the_engine_has_a_translation(name: str) -> None:
    module = Path(domain.__file__).parents[1] / name
    with speaking(FRENCH):
        missing = [
            (line, each)
            for line, each in said_in(module)
            if " " in each.strip() and left_over(each) and (told(each) == each or left_over(told(each)))
        ]
    assert missing == []


def test_every_step_type_is_described_in_french() -> None:
    with speaking(FRENCH):
        own = [each for each in all_types() if each.description and not each.name.startswith("test.")]
        first = [each.description.split("\n\n")[0].replace("\n", " ") for each in own]
        assert [each for each in first if told(each) == each] == []


def test_translations_of_the_engine_fill_in_what_their_sentence_does() -> None:
    for each, french in sentences("fr").items():
        names = [set(re.findall(r"\{[A-Za-z]\w*\}", side)) for side in (each, french)]
        assert names[0] == names[1], each


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("unknown name 'thne'; did you mean 'then'?", "nom inconnu 'thne' ; vouliez-vous dire 'then' ?"),
        ("must be 'a', 'b' or 'c', not a list", "doit être 'a', 'b' ou 'c', pas une liste"),
        ("must be greater than or equal to 1, not 0", "doit être supérieur ou égal à 1, pas 0"),
        ("must be true or false, not 'a; b or c'", "doit être true ou false, pas 'a; b or c'"),
        ("said by another package; not known here", "said by another package; not known here"),
        ("limit: 12,500 entries at most", "limite : 12\u202f500 entrées au plus"),
        (
            "control group: 2.5 percent of contacts who are new from now on; no steps run for them",
            "groupe témoin : 2,5 % des contacts nouveaux à partir de maintenant ; aucune étape ne s’exécute pour eux",
        ),
        ("10,000", "10\u202f000"),
        ("must be true or false, not '1,000'", "doit être true ou false, pas '1,000'"),
        ("unknown name '{Kind}'", "nom inconnu '{Kind}'"),
        ("", ""),
    ],
)
def test_a_sentence_is_known_by_its_template_and_what_is_filled_in_stays(english: str, french: str) -> None:
    with speaking(FRENCH):
        assert told(english) == spaced("fr", french)
    assert told(english) == english


def test_a_long_sentence_without_end_is_read_quickly() -> None:
    with speaking(FRENCH):
        assert told("must be , not " * 20_000)


def test_a_plan_tells_of_runs_by_a_property_in_french() -> None:
    with speaking(FRENCH):
        said = told("source event cart.updated, a run for each cart_id")
    assert said == spaced("fr", "source : événement cart.updated, un parcours pour chaque cart_id")
