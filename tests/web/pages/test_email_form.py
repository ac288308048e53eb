"""An email is written in the browser, with its versions, preview, checks, test and figures."""

from __future__ import annotations

import email as mail_reader
import html as html_entities
import json
import re
from dataclasses import replace
from email.policy import default
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import emails, variant_tests
from parcours.db.tables.emails import Email
from parcours.db.tables.variant_tests import TriedPlace
from parcours.domain.messages.content import Content, Variant
from parcours.domain.messages.winner import winner_rule
from parcours.web.pages.email_form import key_of_subject
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_segment_form import Editor
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.worlds import START, World, at, event

HTML = {"accept": "text/html"}


class EmailEditor(Editor):
    """The form of an email in a browser without script."""

    def __init__(self, http: TestClient, path: str) -> None:
        self.http, self.path = http, path
        self.answer = http.get(path)


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.contacts("ann", segment="everyone", first_name="Ann", language="fr")
    made.contacts("ben", segment="everyone")
    return made


@pytest.fixture
def http(client: Client, world: World, tmp_path: Path) -> TestClient:
    return client(home=tmp_path)


def test_an_email_is_written_with_variant_and_translation_and_previewed(http: TestClient, world: World) -> None:
    editor = EmailEditor(http, "/emails/+new")
    assert "unsubscribe_url" in editor.answer.text
    wrong = editor.send(press={"save": "1"}, v_subject="Hello {{ contact.first_name }", sender="nobody")
    assert wrong.status_code == 400
    assert "must be an address such as" in text_of(wrong.text)
    shown = editor.send(
        "/emails/+preview",
        press={},
        v_subject="Hello {{ contact.first_name }}",
        v_html="<p>Dear {{ contact.first_name }}</p><script>alert(1)</script>",
        preview_contact="ann",
    )
    assert "<p>Dear Ann</p>" in shown.text
    assert "sandbox" in shown.headers["content-security-policy"]
    assert "unsafe-eval" not in shown.headers["content-security-policy"]
    editor = EmailEditor(http, "/emails/+new")
    text = editor.send("/emails/+preview", press={}, v_subject="Hi", v_html="<p>To <b>you</b></p>", view="text")
    assert "To you" in text.text
    broken = EmailEditor(http, "/emails/+new").send(
        "/emails/+preview", press={}, v_subject="x", v_html="{{ contact | up"
    )
    assert broken.status_code == 200
    editor = EmailEditor(http, "/emails/+new")
    editor.send(press={"do": "add"}, v_subject="Summer sale", new_variant="short", new_locale="fr")
    names = ("Main version", "Variant short", "Translation fr", "Variant short, in fr")
    assert all(name in editor.answer.text for name in names)
    saved = editor.send(
        press={"save": "1"},
        v_subject=["Summer sale", "Sale", "Soldes", "Soldes !"],
        v_weight=["", "30", "", ""],
        category="news",
    )
    assert saved.url.path == "/emails/summer-sale"
    stored = http.get("/api/emails/summer-sale").json()
    assert (stored["subject"], stored["category"]) == ("Summer sale", "news")
    assert [(each["name"], each["weight"], each["subject"]) for each in stored["variants"]] == [("short", 30.0, "Sale")]
    assert stored["variants"][0]["translations"]["fr"]["subject"] == "Soldes !"
    assert stored["translations"]["fr"]["subject"] == "Soldes"
    # Saved as it is, it stays what it is.
    again = EmailEditor(http, "/emails/summer-sale/edit").send(press={"save": "1"})
    assert again.url.path == "/emails/summer-sale"
    assert http.get("/api/emails/summer-sale").json() == stored
    taken = EmailEditor(http, "/emails/+new").send(press={"save": "1"}, v_subject="Summer sale")
    assert "already exists" in taken.text
    editor = EmailEditor(http, "/emails/summer-sale/edit")
    editor.send(press={"do": "remove:1"})
    assert "Variant short" not in editor.answer.text


def test_without_a_choice_an_email_is_shown_for_the_newest_contact(http: TestClient, world: World) -> None:
    world.write("UPDATE contact SET fields = CAST(:fields AS jsonb) WHERE key = 'ben'", fields='{"first_name": "Ben"}')
    editor = EmailEditor(http, "/emails/+new")
    assert 'placeholder="Ben"' in editor.answer.text
    shown = editor.send(
        "/emails/+preview", press={}, v_html="Dear {{ contact.first_name }}", v_subject="Hi", preview_contact=""
    )
    assert "Dear Ben" in shown.text
    with world.engine.begin() as conn:
        emails.save(conn, Email("hello", "Hello {{ contact.first_name }}", None, "Hi", None, True), now=START)
    page = http.get("/emails/hello").text
    assert "Hello Ben" in page
    assert "Hello Ann" in http.get("/emails/hello?contact=ann").text
    assert "No contact has the key nobody." in http.get("/emails/hello?contact=nobody").text


def test_contacts_are_offered_by_what_is_typed(http: TestClient, world: World) -> None:
    world.contacts("<b>", email="odd&one@example.com", first_name='"><script>')

    def offered(typed: str) -> list[tuple[str, str]]:
        found = re.findall(
            r'<option value="([^"]*)" label="([^"]*)">', http.get("/contacts/+found", params={"q": typed}).text
        )
        return [(unescape(value), unescape(label)) for value, label in found]

    ((value, label),) = offered("ann")
    assert value in ("ann", "ann@example.com")
    assert label.startswith("Ann · ")
    assert offered("odd") == [("odd&one@example.com", '"><script> · odd&one@example.com · <b>')]
    for nothing in ("", "  ", "nobody", "\x00", "x" * 3000):
        assert offered(nothing) == []


def test_an_email_is_checked_for_what_receivers_dislike(http: TestClient, world: World) -> None:
    html = (
        '<a href="offer.html">x</a><a href="">y</a><img src="https://e.org/a.png"><a href="https://e.org">z</a>'
        + "x" * 110_000
    )
    given = {"subject": "s" * 80, "html": html, "translations": {"fr": {"text": "{{ contact.color }}"}}}
    assert http.put("/api/emails/odd", json=given).status_code == 201
    page = text_of(http.get("/emails/odd").text)
    for said in (
        "There is no link to unsubscribe",
        "longer than 70 characters",
        "110 kB",
        "leads nowhere",
        "A link has no address",
        "(alt)",
        "contact.color, which no contact has",
    ):
        assert said in page
    french = text_of(http.get("/emails/odd/edit", headers={"accept-language": "fr"}).text)
    assert "lien de désabonnement" in french
    assert "Traduction fr" in french
    assert http.put("/api/emails/good", json={"subject": "Hi", "text": "Bye {{ unsubscribe_url }}"}).status_code == 201
    assert "To check" not in http.get("/emails/good").text


def test_a_test_is_sent_from_the_page_by_command_and_over_rest_and_counts_nothing(
    http: TestClient, world: World, run: Run, tmp_path: Path
) -> None:
    with world.engine.begin() as conn:
        variant = Variant("b", 10, Content(subject="Bee"), {})
        french = {"fr": Content(subject="Bonjour {{ contact.first_name }}")}
        hello = Email(
            "hello", "Hello", None, "Hi {{ unsubscribe_url }}", None, True, variants=(variant,), translations=french
        )
        emails.save(conn, hello, now=START)

    def subjects() -> set[str]:
        read = (
            mail_reader.message_from_bytes(path.read_bytes(), policy=default)
            for path in (tmp_path / "mail").glob("*.eml")
        )
        return {str(each["subject"]) for each in read}

    token = token_of(http.get("/emails/hello"))
    page = http.post(
        "/emails/hello/test", data={"csrf": token, "to": "ada@example.com", "contact": "ann"}, headers=HTML
    )
    assert "The test email was sent to ada@example.com." in page.text
    assert subjects() == {"[Test] Bonjour Ann"}
    answer = http.post("/api/emails/hello/test", json={"to": "ada@example.com", "variant": "b"})
    assert (answer.status_code, answer.json()["to"]) == (200, "ada@example.com")
    assert run("emails", "test", "hello", "--to", "ada@example.com").returncode == 0
    assert subjects() == {"[Test] Bonjour Ann", "[Test] Bee", "[Test] Hello"}
    assert http.post("/api/emails/hello/test", json={"to": "nobody"}).status_code == 409
    assert http.post("/api/emails/hello/test", json={"to": "a@example.com", "variant": "x"}).status_code == 409
    assert http.post("/api/emails/hello/test", json={"to": "a@example.com", "contact": "x"}).status_code == 404
    assert http.post("/api/emails/none/test", json={"to": "a@example.com"}).status_code == 404
    refused = http.post(
        "/emails/hello/test",
        data={"csrf": token, "to": "x", "contact": "ann"},
        headers={**HTML, "accept-language": "fr"},
    )
    assert "n’est pas une adresse e-mail" in refused.text
    # What was typed stays.
    assert 'value="x"' in refused.text
    assert re.search(r'id="test-contact"[^>]*value="ann"|value="ann"[^>]*id="test-contact"', refused.text)
    assert world.read("SELECT FROM message") == []
    assert http.get("/api/emails/hello/figures").json()["total"]["sent"] == 0


def test_figures_tell_what_became_of_an_email_by_step_variant_and_link(
    http: TestClient, world: World, run: Run
) -> None:
    world.email("hello")
    world.campaign("- {step: greet, action: email.send, with: {email: hello}}", name="Welcome")
    world.run()
    keys = {row.key: row.message for row in world.read(
        "SELECT contact.key, message.key AS message FROM message JOIN contact ON contact.id = contact_id"
    )}  # fmt: skip
    world.write(
        "UPDATE message SET state = 'sent', sent_at = due_at, variant = CASE WHEN key = :key THEN 'b' END",
        key=keys["ben"],
    )
    for type_, more in (
        ("email.opened", {}),
        ("email.clicked", {"url": "https://e.org/offer?who=ann"}),
        ("email.clicked", {"url": "https://e.org/offer?who=else"}),
        ("email.unsubscribed", {}),
    ):
        world.tell(event(type_, "ann", at(1, "10:00"), message=keys["ann"], **more))
    world.tell(event("email.bounced", "ben", at(1, "11:00"), message=keys["ben"]))
    figures = http.get("/api/emails/hello/figures").json()
    assert figures["total"] == {
        "sent": 2, "delivered": 1, "opened": 1, "clicked": 1, "bounced": 1, "unsubscribed": 1, "failed": 0,
    }  # fmt: skip
    of_parts = {(each["campaign"], each["step"], each["variant"], each["sent"]) for each in figures["parts"]}
    assert of_parts == {("c", "greet", "b", 1), ("c", "greet", None, 1)}
    assert figures["links"] == [{"url": "https://e.org/offer", "clicks": 2}]
    shown = json.loads(run("emails", "show", "hello", "--json").stdout)
    assert shown["figures"] == figures
    assert "https://e.org/offer" in run("emails", "show", "hello").stdout
    page = text_of(http.get("/emails/hello").text)
    for said in ("Sent 2", "Delivered 1", "https://e.org/offer", "Welcome"):
        assert said in page
    assert "2" in http.get("/emails").text
    # The counters are what a count of the messages says, also when a contact is erased.
    world.tell(event("contact.deleted", "ben", at(2)))
    assert http.get("/api/emails/hello/figures").json()["total"]["sent"] == 1


def test_a_winner_is_set_in_the_form_and_shown_with_the_figures(http: TestClient, world: World, run: Run) -> None:
    editor = EmailEditor(http, "/emails/+new")
    assert "winner_by" not in editor.answer.text
    editor.send(press={"do": "add"}, v_subject="Offer", v_html="<p>Hi</p>", new_variant="short")
    wrong = editor.send(press={"save": "1"}, v_subject=["Offer", "Hi"], winner_by="clicked", winner_after="soon")
    assert wrong.status_code == 400
    assert "soon" in text_of(wrong.text)
    saved = editor.send(press={"save": "1"}, v_subject=["Offer", "Hi"], winner_by="clicked", winner_after="4 hours")
    assert saved.url.path == "/emails/offer"
    assert "The first comparison begins with the next email." in text_of(saved.text)
    assert http.get("/api/emails/offer").json()["winner"] == {"after": "4 hours", "by": "clicked"}
    again = EmailEditor(http, "/emails/offer/edit").send(press={"save": "1"})
    assert again.url.path == "/emails/offer"
    assert http.get("/api/emails/offer").json()["winner"] == {"after": "4 hours", "by": "clicked"}
    world.campaign("- {step: greet, action: email.send, with: {email: offer}}", name="Welcome")
    (row,) = world.read("SELECT campaign_id, id FROM step WHERE key = 'greet'")
    (email,) = world.read("SELECT test_round FROM email")
    place = TriedPlace("offer", row.campaign_id, row.id, email.test_round)
    with world.engine.begin() as conn:
        variant_tests.begin(conn, [place], now=START)
    page = text_of(http.get("/emails/offer").text)
    assert "Most clicks after 4 hours gets all further emails" in page
    assert "Welcome, Send “Offer”: no winner yet" in page
    assert "none yet" in run("emails", "show", "offer").stdout
    with world.engine.begin() as conn:
        variant_tests.decide(conn, place, "short", now=at(2))
    assert "Welcome, Send “Offer”: short (chosen" in text_of(http.get("/emails/offer").text)
    (winner,) = http.get("/api/emails/offer/figures").json()["winners"]
    assert (winner["campaign"], winner["step"], winner["variant"]) == ("c", "greet", "short")
    shown = json.loads(run("emails", "show", "offer", "--json").stdout)
    assert shown["figures"]["winners"][0]["variant"] == "short"
    assert "short, since" in run("emails", "show", "offer").stdout
    # Without variants there is nothing to win.
    editor = EmailEditor(http, "/emails/offer/edit")
    editor.send(press={"do": "remove:1"})
    editor.send(press={"save": "1"})
    assert http.get("/api/emails/offer").json()["winner"] is None


def test_versions_stand_side_by_side_for_a_contact(http: TestClient, world: World) -> None:
    given = {
        "subject": "Hello {{ contact.first_name }}",
        "html": "<p>Main</p>",
        "variants": [{"name": "short", "weight": 50, "subject": "Hi {{ contact.first_name }}"}],
        "translations": {"fr": {"subject": "Bonjour", "text": "Salut {{ contact.first_name }}"}},
    }
    assert http.put("/api/emails/offer", json=given).status_code == 201
    page = http.get("/emails/offer", params={"contact": "ann"})
    said = text_of(page.text)
    for each in ("Main version Subject: Hello Ann", "short Subject: Hi Ann", "fr Subject: Bonjour"):
        assert each in said
    frames = re.findall(r'<iframe class="preview" sandbox loading="lazy" src="([^"]+)"', page.text)
    shown = [http.get(html_entities.unescape(each)) for each in frames]
    assert "<p>Main</p>" in shown[0].text
    assert "Salut Ann" in shown[2].text
    assert all("sandbox" in each.headers["content-security-policy"] for each in shown)
    # What people call it is its subject, on every page.
    assert "Hello …" in text_of(http.get("/emails").text)
    world.campaign("- {step: greet, action: email.send, with: {email: offer}}", name="Welcome")
    assert "“Hello …”" in text_of(http.get("/campaigns/c/build").text)
    assert "“Hello …”" in text_of(http.get("/campaigns/c").text)


def test_an_email_offers_and_shows_what_the_event_of_a_run_brings(http: TestClient, world: World) -> None:
    assert "entry." not in http.get("/emails/+new").text
    world.email("cart")
    steps = "- {action: email.send, with: {email: cart}, after: 2 hours}"
    world.campaign(steps, events=[{"type": "basket.changed", "key": "basket"}], reentry="always", segments=())
    page = unescape(http.get("/emails/cart/edit").text)
    assert '<optgroup label="Event that began the run">' in page
    assert '<option value="{{ entry.basket }}">' in page
    world.tell(event("basket.changed", "ben", START, basket="17", sum=45))
    assert '<option value="{{ entry.sum }}">' in unescape(http.get("/emails/cart/edit").text)
    text = {"v_subject": "Basket {{ entry.basket }}", "v_html": "<p>{{ entry.sum }} €</p>"}
    fields = {"csrf": token_of(http.get("/emails/+new")), "v_variant": "", "v_locale": "", "v_weight": "", "v_text": ""}
    shown = http.post("/emails/+preview", data={**fields, **text, "preview_contact": "ben"})
    assert "Basket 17" in shown.text
    assert "<p>45 €</p>" in shown.text
    # Of who has no run there is nothing to show.
    assert "<p> €</p>" in http.post("/emails/+preview", data={**fields, **text, "preview_contact": "ann"}).text


def test_an_email_that_is_written_for_a_draft_offers_what_its_events_bring(http: TestClient, world: World) -> None:
    made = http.post("/drafts", data={"csrf": token_of(http.get("/drafts/+new")), "name": "Cart", "template": "cart"})
    back = f"{made.url.path}?step=cart-reminder&pick=with.email"
    assert '<option value="{{ entry.cart_id }}">' in unescape(http.get("/emails/+new", params={"back": back}).text)


def test_a_viewer_writes_and_sends_no_email(client: Client, world: World, engine: Engine) -> None:
    world.email("hello")
    given_user(engine, "viewer")
    http = client(open_to_all=False)
    sign_in(http)
    page = http.get("/emails/hello").text
    assert "/edit" not in page
    assert "Send a test" not in page
    token = token_of(http.get("/emails/hello"))
    for path in ("/emails/+new", "/emails/hello/edit", "/emails/hello/test", "/emails/+preview"):
        assert http.post(path, data={"csrf": token}).status_code == 403


def test_what_is_typed_into_an_email_never_runs(http: TestClient, world: World) -> None:
    evil: dict[str, Any] = {"v_subject": "</title><script>alert(1)</script>", "v_html": "</textarea><script>x</script>"}
    page = EmailEditor(http, "/emails/+new").send(press={"do": "add"}, **evil)
    assert "<script>alert" not in page.text
    assert "</textarea><script>" not in page.text


@pytest.mark.parametrize(
    ("subject", "key"),
    [
        ("Grüße, {{ contact.first_name }}", "grusse"),
        ("{% if contact.a %}Hello{% endif %} {{ contact['b'] | default: 'you' }}", "hello"),
        ("{{ contact.first_name }}", "contact-first-name"),
    ],
)
def test_the_key_of_an_email_is_made_of_the_words_of_its_subject(subject: str, key: str) -> None:
    assert key_of_subject(subject) == key


def test_a_field_of_two_words_is_offered_as_it_can_be_written(http: TestClient, world: World) -> None:
    fields: dict[str, Any] = {"Letzter Kauf": "2026-01-31"}
    world.contacts("eve", **fields)
    page = unescape(http.get("/emails/+new").text)
    assert '<code>{{ contact["Letzter Kauf"] }}</code>' in page


def test_a_mistake_in_a_template_is_told_with_its_version_line_and_what_to_write(
    http: TestClient, world: World
) -> None:
    editor = EmailEditor(http, "/emails/+new")
    editor.send(press={"do": "add"}, new_variant="short", new_locale="fr")
    wrong = {
        "v_subject": ["Hello", "", "", "Bonjour {{ prenom }}"],
        "v_html": ["<p>\n{% if contact.a %}\n</p>", "<p>{{ contact.a | upcas }}</p>", "<p>a</p>\n{{ }}", ""],
    }
    for language, said in {
        "en": [
            "HTML, line 2: {% if %} is not closed; add {% endif %} where it ends.",
            "HTML in the variant 'short': unknown filter 'upcas'; did you mean 'upcase'?",
            "HTML in the translation 'fr', line 2: a placeholder is empty;",
            "Subject in the variant 'short' in the translation 'fr': unknown name 'prenom';",
        ],
        "fr": [
            "HTML, ligne 2 : {% if %} n’est pas fermé ; ajoutez {% endif %} là où il se termine.",
            "HTML de la variante 'short' : filtre inconnu 'upcas' ; vouliez-vous dire 'upcase' ?",
            "HTML de la traduction 'fr', ligne 2 : un champ à remplir est vide ;",
            "Objet de la variante 'short' dans la traduction 'fr' : nom inconnu 'prenom' ;",
        ],
    }.items():
        http.headers["accept-language"] = language
        answer = editor.send(press={"save": "1"}, **wrong)
        assert answer.status_code == 400
        for each in said:
            assert each in text_of(answer.text)


def test_the_time_of_a_winner_is_written_as_the_reader_would_and_saved_as_it_is(http: TestClient, world: World) -> None:
    two = (Variant("b", 50, Content(subject="Hi")),)
    with world.engine.begin() as conn:
        made = Email(
            "offer", "Offer", "<p>a</p>", None, None, True, variants=two, winner=winner_rule("4 hours", "clicked")
        )
        emails.save(conn, made, now=START)
    http.headers["accept-language"] = "fr"
    editor = EmailEditor(http, "/emails/offer/edit")
    assert 'value="4 heures"' in editor.answer.text
    assert "Objet : Offer" in text_of(editor.send(press={"save": "1"}).text)
    assert http.get("/api/emails/offer").json()["winner"] == {"after": "4 hours", "by": "clicked"}


def test_what_a_version_takes_from_another_is_told_once_and_its_own_with_its_name(
    http: TestClient, world: World
) -> None:
    variants = (
        Variant("short", 30, Content(subject="Short")),
        Variant("own", 30, Content(html='<a href="shop">x</a> {{ unsubscribe_url }}')),
    )
    made = Email("offer", "Offer", "<p>Hello</p>", None, None, True, variants=variants)
    made = replace(made, translations={"fr": Content(subject="Offre")})
    with world.engine.begin() as conn:
        emails.save(conn, made, now=START)
    for path in ("/emails/offer", "/emails/offer/edit"):
        page = text_of(http.get(path).text)
        assert page.count("There is no link to unsubscribe") == 1
        assert "Variant own: The link 'shop' leads nowhere in an email" in page


def test_a_preview_of_a_broken_template_says_only_what_is_wrong(http: TestClient, world: World) -> None:
    fields = {"csrf": token_of(http.get("/emails/+new")), "v_variant": "", "v_locale": "", "v_weight": ""}
    shown = http.post(
        "/emails/+preview",
        data={**fields, "v_subject": "Hello", "v_html": "<p>\n{{ contact.a | upcas }}", "v_text": ""},
    )
    assert "line 2: unknown filter 'upcas'; did you mean 'upcase'?" in text_of(shown.text)
    assert "Subject" not in text_of(shown.text)
    assert "sandbox" in shown.headers["content-security-policy"]
