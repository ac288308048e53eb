"""Forms over HTTP: whose a submission is, where it leads, and which sites may send it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.tables import forms
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.mailing import Mailing, mailing

JOINS = "- {step: sent, decision: form.submit, yes: [{action: contact.tags, with: {add: [sent]}}]}"
SITE = "https://shop.example"


@pytest.fixture
def mail(engine: Engine, tmp_path: Path) -> Mailing:
    world = mailing(engine, tmp_path)
    world.campaign(JOINS, key="f", segments=[], forms=["signup"])
    with world.engine.begin() as conn:
        forms.place(conn, "signup", redirect=None, allowed_origins=None, names_contact=True)
    return world


@pytest.fixture
def http(client: Client, mail: Mailing) -> TestClient:
    found = client(public_url="https://parcours.example")
    found.follow_redirects = False
    return found


def placed(mail: Mailing, *origins: str, redirect: str | None = None) -> None:
    with mail.engine.begin() as conn:
        assert forms.place(conn, "signup", redirect=redirect, allowed_origins=origins)


def submissions(mail: Mailing) -> list[tuple[str, dict[str, Any]]]:
    mail.act_now()
    rows = mail.read("SELECT key, form_submission.fields FROM form_submission JOIN contact ON contact.id = contact_id")
    return [(row.key, row.fields) for row in rows]


def test_a_submission_joins_the_campaign_and_moves_the_contact(http: TestClient, mail: Mailing) -> None:
    answer = http.post("/forms/signup", json={"contact": "ann", "fields": {"plan": "pro", "n": 3}})
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    (row,) = mail.stored()
    assert (row.type, row.source) == ("form.submitted", "parcours/forms")
    assert submissions(mail) == [("ann", {"plan": "pro", "n": 3})]
    assert mail.log(campaign="f") == ["sent yes", *mail.log(campaign="f")[1:]]
    assert mail.tags("ann") == {"sent"}


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
def test_a_plain_html_form_gets_a_page_and_repeated_fields_are_a_list(
    http: TestClient, mail: Mailing, kind: str
) -> None:
    fields = {"email": "ann@example.com", "colour": ["red", "blue"], "name": "Zoë", "_other": "ours"}
    if kind == "multipart":
        pairs = [
            (name, each) for name, value in fields.items() for each in ([value] if isinstance(value, str) else value)
        ]
        parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in pairs]
        # As browsers send a field for a file that is left empty.
        parts.append('--b\r\nContent-Disposition: form-data; name="photo"; filename=""\r\n\r\n\r\n--b--\r\n')
        headers = {"content-type": "multipart/form-data; boundary=b"}
        answer = http.post("/forms/signup", content="".join(parts).encode(), headers=headers)
    else:
        answer = http.post("/forms/signup", data=fields, headers={"accept-language": "fr"})
        assert "Merci" in answer.text
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    sent = {"email": "ann@example.com", "colour": ["red", "blue"], "name": "Zoë"}
    assert submissions(mail) == [("ann", sent)]


@pytest.mark.parametrize(
    ("language", "email", "said"),
    [
        ("en", "", "Enter your email address. Go back in your browser, correct it, and send the form again."),
        ("fr", "", "Indiquez votre adresse e-mail. Revenez en arrière dans votre navigateur, corrigez"),
        ("en", "no address", "The email is not a valid address. Go back in your browser"),
    ],
)
def test_a_visitor_whose_form_is_refused_is_told_what_to_do_and_sees_nothing_of_our_pages(
    http: TestClient, language: str, email: str, said: str
) -> None:
    headers = {"accept": "text/html", "accept-language": language}
    answer = http.post("/forms/signup", data={"email": email}, headers=headers)
    assert answer.status_code == 422
    assert said in " ".join(re.sub("<[^>]*>", " ", answer.text).split())
    missing = http.post("/forms/nosuch", data={"email": "ann@example.com"}, headers=headers)
    assert missing.status_code == 404
    for page in (answer.text, missing.text):
        assert "/campaigns" not in page
        assert "Parcours" not in page


def test_a_script_that_sends_an_html_form_may_ask_for_json(http: TestClient, mail: Mailing) -> None:
    answer = http.post("/forms/signup", data={"email": "ann@example.com"}, headers={"accept": "application/json"})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)


# Whose it is.


def test_an_address_finds_its_contact_or_makes_one(http: TestClient, mail: Mailing) -> None:
    http.post("/forms/signup", json={"email": "ANN@example.com"})
    http.post("/forms/signup", json={"email": "new@example.com", "fields": {"a": "b"}})
    http.post("/forms/signup", json={"fields": {"email": "New@example.com"}})
    assert [key for key, _ in submissions(mail)] == ["ann", "new@example.com", "new@example.com"]
    (row,) = mail.read("SELECT email FROM contact WHERE key = 'new@example.com'")
    assert row.email == "new@example.com"


def test_a_visit_says_whose_it_is_unless_an_address_does(http: TestClient, mail: Mailing) -> None:
    visit = mail.token("visit")
    http.post("/forms/signup", data={"_visit": visit, "a": "1"})
    http.post("/forms/signup", json={"visit": visit, "email": "other@example.com"})
    assert [key for key, _ in submissions(mail)] == ["ann", "other@example.com"]


@pytest.mark.parametrize("body", [{"json": {"contact": "ann"}}, {"data": {"_contact": "ann"}}])
def test_nobody_speaks_for_another_contact_unless_the_form_says_so(
    http: TestClient, mail: Mailing, run: Run, body: dict[str, Any]
) -> None:
    run("forms", "create", "signup", "--no-names-contact")
    answer = http.post("/forms/signup", **body)
    assert answer.status_code == 422
    assert "this form does not accept the key of a contact" in answer.text
    assert mail.stored() == []
    # The signed token of a visit does.
    assert http.post("/forms/signup", json={"visit": mail.token("visit")}).status_code == 202
    run("forms", "create", "signup", "--names-contact")
    assert http.post("/forms/signup", **body).status_code in (200, 202)


@pytest.mark.parametrize("body", [{}, {"email": "no address"}, {"visit": "x.y"}, {"visit": "x", "fields": {}}])
def test_what_is_nobodys_is_a_422_that_says_what_to_send(http: TestClient, mail: Mailing, body: Any) -> None:
    answer = http.post("/forms/signup", json=body)
    assert answer.status_code == 422
    assert "email" in answer.json()["detail"]
    assert mail.stored() == []


def test_an_unknown_person_is_refused_where_the_setting_says_so(client: Client, mail: Mailing) -> None:
    answer = client(unknown_contacts="reject").post("/forms/signup", json={"email": "new@example.com"})
    assert answer.status_code == 422
    assert mail.stored() == []


@pytest.mark.parametrize("who", [{"contact": "ann"}, {"email": "new@example.com"}])
def test_the_same_id_again_changes_nothing(http: TestClient, mail: Mailing, who: dict[str, str]) -> None:
    for answer in ({"accepted": 1, "duplicates": 0, "rejected": []}, {"accepted": 0, "duplicates": 1, "rejected": []}):
        assert http.post("/forms/signup", json={**who, "id": "s-1"}).json() == answer
    assert len(submissions(mail)) == 1


@pytest.mark.parametrize("body", [{"json": {"contact": "ann", "_hp": "x"}}, {"data": {"_contact": "ann", "_hp": "x"}}])
def test_who_fills_in_what_nobody_sees_is_thanked_and_forgotten(http: TestClient, mail: Mailing, body: Any) -> None:
    assert http.post("/forms/signup", **body).status_code in (200, 202)
    assert mail.stored() == []


# Where it leads.


@pytest.mark.parametrize(
    ("wanted", "leads"),
    [
        ("/thanks", "https://parcours.example/thanks"),
        ("https://parcours.example/thanks", "https://parcours.example/thanks"),
        (f"{SITE}/thanks?a=1#b", f"{SITE}/thanks?a=1#b"),
        ("https://other.example/x", "https://other.example/x"),
        (None, "https://other.example/done"),
        ("https://evil.example/", "https://other.example/done"),
        ("//evil.example/", "https://other.example/done"),
        ("/\\evil.example/", "https://other.example/done"),
        ("\\\\evil.example/", "https://other.example/done"),
        (f"{SITE}.evil.example/", "https://other.example/done"),
        (f"{SITE}@evil.example/", "https://other.example/done"),
        ("javascript:alert(1)", "https://other.example/done"),
    ],
)
def test_a_page_leads_only_where_the_form_allows(
    http: TestClient, mail: Mailing, wanted: str | None, leads: str
) -> None:
    placed(mail, SITE, redirect="https://other.example/done")
    data = {"_contact": "ann"} | ({"_redirect": wanted} if wanted else {})
    answer = http.post("/forms/signup", data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, leads)


def test_where_a_redirect_is_not_allowed_a_page_says_thank_you(http: TestClient, mail: Mailing) -> None:
    answer = http.post("/forms/signup", data={"_contact": "ann", "_redirect": "https://evil.example/"})
    assert answer.status_code == 200
    assert "evil" not in answer.text
    assert len(mail.stored()) == 1


# Which sites.


def test_every_site_may_submit_a_form_that_names_none(http: TestClient, mail: Mailing) -> None:
    answer = http.post("/forms/signup", json={"contact": "ann"}, headers={"origin": SITE})
    assert answer.headers["access-control-allow-origin"] == "*"


def test_only_the_sites_that_a_form_names_may_submit_it(http: TestClient, mail: Mailing) -> None:
    placed(mail, SITE)
    asked = {"origin": SITE, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = http.options("/forms/signup", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, SITE)
    answer = http.post("/forms/signup", json={"contact": "ann"}, headers={"origin": SITE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (202, SITE)
    assert answer.headers["vary"] == "Origin"
    # A sentence that the page may read.
    assert http.post("/forms/signup", json=[], headers={"origin": SITE}).headers["access-control-allow-origin"] == SITE
    assert http.post(
        "/forms/signup", json={"contact": "ann"}, headers={"origin": "https://parcours.example"}
    ).is_success
    for origin in ("https://evil.example", "null", "http://shop.example"):
        assert http.options("/forms/signup", headers=asked | {"origin": origin}).status_code == 403
        answer = http.post("/forms/signup", data={"_contact": "ann"}, headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert len(mail.stored()) == 2


# What is refused.


def test_a_form_that_is_unknown_or_not_published_is_a_404(http: TestClient, mail: Mailing) -> None:
    mail.write("UPDATE form SET published = false")
    for key in ("signup", "nothing"):
        answer = http.post(f"/forms/{key}", json={"contact": "ann"})
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ({"json": []}, 400),
        ({"json": {"fields": []}}, 400),
        ({"json": {"contact": 5}}, 400),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415),
        ({"content": b"x" * 600_000, "headers": {"content-type": "application/json"}}, 413),
        (
            {
                "content": b"&".join(b"a=1" for _ in range(600)),
                "headers": {"content-type": "application/x-www-form-urlencoded"},
            },
            413,
        ),
        ({"files": {"photo": ("me.png", b"x")}}, 422),
        ({"json": {"contact": "ann", "fields": {"a": "\0"}}}, 422),
        ({"json": {"contact": "x" * 300}}, 422),
    ],
)
def test_what_cannot_be_stored_is_refused_with_a_sentence(
    http: TestClient, mail: Mailing, request_: dict[str, Any], status: int
) -> None:
    answer = http.post("/forms/signup", **request_)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    assert mail.stored() == []


# The command.


def test_the_command_says_where_a_form_stands_and_leads(run: Run, mail: Mailing) -> None:
    done = run("forms", "create", "ask", "--redirect", f"{SITE}/thanks", "--allow-origin", f"{SITE}/")
    assert (done.returncode, done.stdout.strip()) == (0, "Form ask is created.")
    assert "nothing changed" in run("forms", "create", "ask").stdout
    assert "is updated" in run("forms", "create", "ask", "--allow-origin", "https://b.example").stdout
    with mail.engine.connect() as conn:
        form = forms.find(conn, "ask")
    assert form is not None
    assert (form.redirect, form.allowed_origins) == (f"{SITE}/thanks", ("https://b.example",))
    for wrong in (["--redirect", "nowhere"], ["--allow-origin", f"{SITE}/page"], ["--allow-origin", "*"]):
        done = run("forms", "create", "ask", *wrong)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


# What reaches the contact.


def of_contact(mail: Mailing, key: str) -> dict[str, Any]:
    mail.act_now()
    (row,) = mail.read("SELECT email, timezone, fields FROM contact WHERE key = :key", key=key)
    return {"email": row.email, "timezone": row.timezone, **row.fields}


def test_fields_with_usual_names_fill_what_is_empty_in_the_contact(http: TestClient, mail: Mailing) -> None:
    sent = {
        "email": "new@example.com",
        "Prénom": " Zoë ",
        "lastname": "Rey",
        "tel": "+33 6 12 34 56 78",
        "ville": "Lyon",
        "societe": "acme",
        "colour": "red",
    }
    http.post("/forms/signup", data=sent)
    filled = {"first_name": "Zoë", "last_name": "Rey", "phone": "+33612345678", "city": "Lyon"}
    before = {"email": "new@example.com", "timezone": None, **filled}
    assert of_contact(mail, "new@example.com") == before
    assert [row.key for row in mail.read("SELECT key FROM company")] == ["acme"]
    # A second time they are there already.
    http.post("/forms/signup", data={"email": "new@example.com", "first_name": "Bob", "societe": "b", "country": "FR"})
    assert of_contact(mail, "new@example.com") == {**before, "country": "FR"}
    assert [row.key for row in mail.read("SELECT key FROM company")] == ["acme"]


def test_a_mapping_replaces_what_the_contact_had_and_an_empty_field_erases_nothing(
    http: TestClient, mail: Mailing, run: Run
) -> None:
    done = run("forms", "create", "signup", "--map", "tel=phone", "--map", "plan=tier", "--map", "prenom=")
    assert (done.returncode, done.stdout.strip()) == (0, "Form signup existed and is updated.")
    http.post("/forms/signup", data={"email": "ann@example.com", "tel": "+33698765432", "plan": "pro", "prenom": "A"})
    found = of_contact(mail, "ann")
    assert (found["phone"], found["tier"], found.get("first_name")) == ("+33698765432", "pro", None)
    http.post("/forms/signup", data={"email": "ann@example.com", "tel": "", "plan": " "})
    assert of_contact(mail, "ann") == found
    assert "nothing changed" in run("forms", "create", "signup").stdout
    assert "is updated" in run("forms", "create", "signup", "--no-map").stdout
    http.post("/forms/signup", data={"email": "ann@example.com", "tel": "+33611111111", "prenom": "A"})
    found = of_contact(mail, "ann")
    assert (found["phone"], found["first_name"]) == ("+33698765432", "A")


@pytest.mark.parametrize("wrong", ["plan", "=plan", "a=points", "a=tags", "a=key", "a=" + "x" * 256])
def test_what_no_form_can_set_is_refused_with_a_sentence(run: Run, mail: Mailing, wrong: str) -> None:
    done = run("forms", "create", "signup", "--map", wrong)
    assert done.returncode not in (0, 70)
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_an_invalid_phone_is_told_and_stops_neither_the_submission_nor_the_other_fields(
    http: TestClient, mail: Mailing
) -> None:
    fields = {"email": "new@example.com", "tel": "call me", "first_name": "Zoë", "timezone": "Mars"}
    answer = http.post("/forms/signup", json={"fields": fields})
    assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    timezone, phone = answer.json()["notes"]
    assert "the field 'tel' did not change the contact's 'phone': 'call me' is not a phone number" in phone
    assert "unknown timezone 'Mars'" in timezone
    assert of_contact(mail, "new@example.com") == {"email": "new@example.com", "timezone": None, "first_name": "Zoë"}
    assert submissions(mail) == [("new@example.com", fields)]
    page = http.get("/forms/signup").text
    assert "invalid: timezone, tel" in page


def test_a_phone_is_read_by_the_country_that_the_submission_names(http: TestClient, mail: Mailing) -> None:
    answer = http.post(
        "/forms/signup", json={"email": "n@example.com", "fields": {"phone": "0612345678", "pays": "FR"}}
    )
    assert "notes" not in answer.json()
    assert of_contact(mail, "n@example.com")["phone"] == "+33612345678"


def test_a_submission_is_in_the_contact_before_its_campaigns_begin(http: TestClient, mail: Mailing) -> None:
    condition = "{condition: contact.field, with: {field: first_name, operator: '=', value: Zoë}"
    steps = f"{condition}, yes: [{{action: contact.tags, with: {{add: [known]}}}}]}}"
    mail.campaign(f"[{{decision: form.submit, yes: [{steps}]}}]", key="g", segments=[], forms=["signup"])
    http.post("/forms/signup", data={"email": "new@example.com", "first_name": "Zoë"})
    mail.act_now()
    assert "known" in mail.tags("new@example.com")


@pytest.mark.parametrize(
    "value", [True, 7, 1.5, ["a", "b"], {"a": {"b": []}}, "x" * 1_000, "\U0001f600", [], {}, None, ""]
)
def test_no_value_of_a_field_stops_a_submission(http: TestClient, mail: Mailing, run: Run, value: Any) -> None:
    mapping = ["email", "timezone", "company", "owner", "stage", "phone", "plan"]
    run("forms", "create", "signup", *[each for name in mapping for each in ("--map", f"m_{name}={name}")])
    names = ["first_name", "tel", "mail", "ville", "tz", "company", *[f"m_{name}" for name in mapping]]
    answer = http.post("/forms/signup", json={"email": "n@example.com", "fields": dict.fromkeys(names, value)})
    assert answer.status_code == 202
    assert [key for key, _ in submissions(mail)] == ["n@example.com"]
    assert mail.read("SELECT reason FROM dead_letter") == []


def test_the_command_submits_through_the_same_gate_and_tells_what_was_not_understood(run: Run, mail: Mailing) -> None:
    done = run("forms", "submit", "signup", "ann", "--field", "first_name=Zoë", "--field", "mobile=nine")
    assert done.returncode == 0, done.stderr
    assert "did not change the contact's 'phone': 'nine' is not a phone number" in done.stdout
    assert of_contact(mail, "ann")["first_name"] == "Zoë"
    for bad in ("a" * 300 + "=b", "a=\udcff"):
        done = run("forms", "submit", "signup", "ann", "--field", bad)
        assert done.returncode not in (0, 70), done.stdout
        assert "Traceback" not in done.stderr
        assert len(submissions(mail)) == 1


def test_the_page_of_a_form_says_what_fields_become_and_changes_it(client: Client, mail: Mailing) -> None:
    http = client()
    http.follow_redirects = False
    page = http.get("/forms/signup").text
    assert "Field mapping" in page
    csrf = page.split('name="csrf" value="')[1].split('"')[0]
    for given, said in (("tel=phone\nplan=", "was saved"), ("tel=points", "Forms cannot set the key, points")):
        answer = http.post("/forms/signup/mapping", data={"csrf": csrf, "mapping": given})
        assert answer.status_code == 303, answer.text
        assert said in http.get(answer.headers["location"]).text
    with mail.engine.connect() as conn:
        form = forms.find(conn, "signup")
    assert form is not None
    assert form.mapping == {"tel": "phone", "plan": None}
    assert "tel=phone" in http.get("/forms/signup").text
    french = http.get("/forms/signup", headers={"accept-language": "fr"}).text
    assert "Correspondance des champs" in french
