"""What providers are told, and what their answers mean: mail servers, web addresses, gateways and files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from parcours.domain.messages.results import Bounced, GaveUp, Result, Retry, Sent
from parcours.workers.delivery import smtp_connection
from parcours.workers.delivery.network import refused
from parcours.workers.delivery.payloads import Call, Note
from parcours.workers.delivery.providers.files import NoteFiles
from parcours.workers.delivery.providers.http import Gateway
from parcours.workers.delivery.providers.smtp import MailFiles, Sender, SmtpProvider, as_bytes
from parcours.workers.delivery.providers.webhook import WebhookProvider, signature
from parcours.workers.delivery.render import Mail
from tests.mailbox import MailServer, Receiver
from tests.workers.worlds import START

SENDER = Sender("parcours.example", "us@example.org")


def mail(key: str = "1-2-3-4", to: str = "ann@example.com", **more: Any) -> Mail:
    given: dict[str, Any] = {"sender": None, "subject": "Hi", "html": None, "text": "Hello\n", **more}
    return Mail(key, START, to=(to,), **given)


def call(url: str, **more: Any) -> Call:
    given: dict[str, Any] = {"method": "POST", "headers": {}, "body": {"a": "b"}, "as_json": True, **more}
    return Call("1-2-3-4", url=url, **given)


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer().running() as running:
        yield running


@pytest.fixture
def courier(server: MailServer) -> Iterator[SmtpProvider]:
    made = SmtpProvider(smtp_connection.parse(server.url), SENDER)
    yield made
    made.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as running:
        yield running


@pytest.fixture
def webhooks() -> Iterator[WebhookProvider]:
    made = WebhookProvider("secret", allow_private=True)
    yield made
    made.close()


# Mail.


def test_an_email_is_read_back_as_it_was_meant() -> None:
    made = mail(
        sender="Nörá <nora@example.com>",
        subject="Größe" + " Größe" * 30,
        html="<p>ä" + "x" * 2000 + "</p>",
        text="From here\n.\nto there é",
        unsubscribe_url=f"https://parcours.example/unsubscribe/{'x' * 150}",
    )
    written = as_bytes(made, SENDER, now=START)
    assert max(map(len, written.split(b"\r\n"))) < 998
    read = message_from_bytes(written, policy=policy.default)
    assert read["Subject"] == made.subject
    assert read["From"].addresses[0].display_name == "Nörá"
    assert read["Message-ID"] == "<1-2-3-4@parcours.example>"
    assert read["List-Unsubscribe"] == f"<{made.unsubscribe_url}>"
    assert read["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    html, text = read.get_body(("html",)), read.get_body(("plain",))
    assert html is not None
    assert text is not None
    assert html.get_content().strip() == made.html
    assert text.get_content().replace("\r\n", "\n").strip() == made.text


@pytest.mark.parametrize("long", ["x" * 3000, "é" * 3000, "word " * 600])
def test_no_line_of_an_email_is_longer_than_mail_servers_take(long: str) -> None:
    people = tuple(f"somebody.with.a.long.name.{n}@department.example.com" for n in range(60))
    made = dataclasses.replace(
        mail(sender=f"{long} <nora@example.com>", subject=long, html=f"<p>{long}</p>", text=long), to=people, cc=people
    )
    written = as_bytes(made, SENDER, now=START)
    assert max(map(len, written.split(b"\r\n"))) <= 998
    read = message_from_bytes(written, policy=policy.default)
    assert read["Subject"].split() == long.split()
    assert read["From"].addresses[0].addr_spec == "nora@example.com"
    assert [each.addr_spec for each in read["To"].addresses] == list(people)


def test_one_connection_takes_many_emails(server: MailServer, courier: SmtpProvider) -> None:
    assert courier.send([mail(str(n)) for n in range(20)]) == [Sent()] * 20
    assert server.connections == 1
    assert [each["Message-ID"] for each in server.mails] == [f"<{n}@parcours.example>" for n in range(20)]


AWAY, PATIENT = Retry("", away=True), Retry("", patient=True)


def meant(answer: Result) -> Result | type[Result]:
    """What an answer means, without its words."""
    return dataclasses.replace(answer, error="") if isinstance(answer, Retry) else type(answer)


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ("550 no such user", Bounced),
        ("553 no such name", Bounced),
        ("550 5.1.1 no such user", Bounced),
        ("550 5.1.1 <ann@example.com>: Recipient address rejected: relay user unknown", Bounced),
        ("550 5.2.1 The email account that you tried to reach is disabled", Bounced),
        ("556 5.1.10 the domain takes no mail", Bounced),
        ("550 Requested action not taken: mailbox unavailable", Bounced),
        ("551 User not local; please try <x@example.org>", Bounced),
        ("553 Requested action not taken: mailbox name not allowed", Bounced),
        ("550 Unrouteable address", GaveUp),
        ("550 no", GaveUp),
        ("552 5.2.2 mailbox full", GaveUp),
        ("550 5.4.1 no route", GaveUp),
        # Ours, and nobody's failure.
        ("550 relay not permitted", AWAY),
        ("550 ann@example.com: relaying denied, user unknown here", AWAY),
        ("550 authentication required", AWAY),
        ("553 sorry, that domain isn't in my list of allowed rcpthosts; relay access denied", AWAY),
        ("554 relay access denied", AWAY),
        ("530 5.7.0 Must issue a STARTTLS command first", AWAY),
        ("535 5.7.8 bad credentials", AWAY),
        ("550 5.7.1 we do not like you", AWAY),
        ("554 5.7.1 <ann@example.com>: Relay access denied", AWAY),
        ("550 5.7.26 unauthenticated", AWAY),
        ("550 your IP is on a blacklist", AWAY),
        ("421 too many connections", AWAY),
        # Later.
        ("450 greylisted", PATIENT),
        ("451 4.7.1 greylisted, try again in 300 seconds", PATIENT),
        ("452 4.5.3 daily quota exceeded", PATIENT),
        ("450 4.1.1 user unknown, but perhaps later", PATIENT),
    ],
)
def test_what_a_refused_address_means(
    server: MailServer, courier: SmtpProvider, answer: str, meaning: Result | type[Result]
) -> None:
    server.answers["ann@example.com"] = answer
    refused_, following = courier.send([mail(), mail("2", to="ben@example.com")])
    assert meant(refused_) == meaning, refused_
    assert following == Sent()
    # The connection is fit for the next, unless the server is away.
    assert server.connections == (2 if meaning == AWAY else 1)


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ("554 spam", GaveUp),
        ("554 5.7.1 message rejected as spam", GaveUp),
        ("552 5.3.4 message too big", GaveUp),
        ("550 5.7.60 client is not allowed to send as this sender", AWAY),
        ("451 later", PATIENT),
        ("452 4.5.3 quota", PATIENT),
        ("250 OK", Sent),
    ],
)
def test_what_a_refused_message_means(
    server: MailServer, courier: SmtpProvider, answer: str, meaning: Result | type[Result]
) -> None:
    server.answer = answer
    assert [meant(each) for each in courier.send([mail()])] == [meaning]


def test_a_refused_sender_is_our_fault_unless_the_email_names_it(server: MailServer, courier: SmtpProvider) -> None:
    server.sender_answer = "550 5.1.8 bad sender"
    ours, own = courier.send([mail(), mail("2", sender="eve@example.net")])
    assert (meant(ours), meant(own)) == (AWAY, GaveUp)


def test_a_server_that_is_not_there_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (answer,) = SmtpProvider(smtp_connection.parse(f"smtp://127.0.0.1:{port}"), SENDER).send([mail()])
    assert isinstance(answer, Retry)
    assert answer.away


def test_a_connection_that_the_server_ended_is_made_anew(server: MailServer, courier: SmtpProvider) -> None:
    assert courier.send([mail()]) == [Sent()]
    assert courier._conn is not None
    assert courier._conn.sock is not None
    courier._conn.sock.shutdown(socket.SHUT_RDWR)
    assert courier.send([mail("2")]) == [Sent()]
    assert server.connections == 2


@pytest.mark.parametrize(
    "to", ["ant@example.com,bee@example.com", "cat@example.com;dog@example.com", "mailto:eel@example.com", "fox@@x.org"]
)
def test_what_is_not_one_address_is_given_up_and_not_sent_to_the_first(
    courier: SmtpProvider, server: MailServer, to: str
) -> None:
    assert courier.send([mail(to=to)]) == [GaveUp(f"{to!r} is not an email address")]
    assert server.mails == []


def test_an_address_cannot_say_more_than_an_address(courier: SmtpProvider, server: MailServer) -> None:
    (answer,) = courier.send([mail(to="ann@example.com\r\nRCPT TO:<eve@example.com>")])
    assert isinstance(answer, GaveUp)
    assert server.mails == []


@pytest.mark.parametrize(
    "url", ["http://x", "smtp://", "smtp://x:port", "smtp://x?starttls=maybe", "smtp://x?tls=1", "smtp://x?timeout=0"]
)
def test_an_url_that_is_none_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(Exception, match="PARCOURS_SMTP_URL") as caught:
        smtp_connection.parse(url)
    assert "\n" not in str(caught.value)


def test_mail_written_twice_is_one_file(tmp_path: Path) -> None:
    files = MailFiles(tmp_path / "mail", SENDER)
    assert files.send([mail(to="/a+b@example.com"), mail(to="/a+b@example.com")]) == [Sent()] * 2
    (file,) = (tmp_path / "mail").iterdir()
    assert file.name == "20260601T090000.000000Z-1-2-3-4-_a_b_example.com.eml"


# Webhooks.


def test_a_webhook_bears_its_key_and_a_signature(receiver: Receiver, webhooks: WebhookProvider) -> None:
    headers = {"X-Own": "a\r\nHost: evil", "host": "evil"}
    assert webhooks.send([call(f"{receiver.url}/hook?x=1", headers=headers)]) == [Sent()]
    (got,) = receiver.calls
    assert (got["method"], got["path"], json.loads(got["body"])) == ("POST", "/hook?x=1", {"a": "b"})
    assert got["headers"]["Idempotency-Key"] == "1-2-3-4"
    assert got["headers"]["X-Own"] == "a Host: evil"
    assert got["headers"]["Host"] == receiver.url.removeprefix("http://")
    at = int(got["headers"]["Parcours-Signature"].split(",")[0].removeprefix("t="))
    assert got["headers"]["Parcours-Signature"] == signature("secret", at, got["body"])


def test_forms_and_queries(receiver: Receiver, webhooks: WebhookProvider) -> None:
    webhooks.send([call(receiver.url, as_json=False, body={"a": "b c", "n": 1})])
    webhooks.send([call(f"{receiver.url}/?x=1", method="get", body={"a": "b c"})])
    assert receiver.calls[0]["body"] == b"a=b+c&n=1"
    assert (receiver.calls[1]["path"], receiver.calls[1]["body"]) == ("/?x=1&a=b+c", b"")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, Sent) for status in (200, 202, 204)),
        *((status, GaveUp) for status in (302, 400, 404, 410)),
        *((status, Retry) for status in (408, 425, 429, 500, 503)),
    ],
)
def test_what_a_status_means(receiver: Receiver, webhooks: WebhookProvider, status: int, kind: type[Result]) -> None:
    receiver.answers = [(status, {"Location": f"{receiver.url}/elsewhere"})]
    assert [type(each) for each in webhooks.send([call(receiver.url)])] == [kind]
    assert len(receiver.calls) == 1


def test_retry_after_is_heard(receiver: Receiver, webhooks: WebhookProvider) -> None:
    given = ("90", "Thu, 01 Jan 1970 00:00:00 GMT", "soon")
    receiver.answers = [(429, {"Retry-After": each}) for each in given]
    answers = [webhooks.send([call(receiver.url)])[0] for _ in range(3)]
    afters = [answer.after for answer in answers if isinstance(answer, Retry)]
    assert afters == [timedelta(seconds=90), timedelta(0), None]


INSIDE = ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"]
INSIDE += ["::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1"]
INSIDE += ["2002:7f00:1::", "ff02::1"]
# What versions of Python disagree about, and what clouds answer their machines at.
INSIDE += [
    "168.63.129.16",
    "192.0.0.192",
    "192.0.0.9",
    "192.88.99.1",
    "100.100.100.200",
    "198.18.0.1",
    "255.255.255.255",
]
INSIDE += [
    "64:ff9b:1::1",
    "64:ff9b::a83f:8110",
    "fec0::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:20::1",
]
INSIDE += [
    "2001:db8::1",
    "3fff::1",
    "3ffe::1",
    "5f00::1",
    "::ffff:168.63.129.16",
    "::127.0.0.1",
    "::ffff:0:127.0.0.1",
    "100::1",
]
INSIDE += ["2002:a83f:8110::1", "2002:c0a8:1::", "4000::1"]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_refused(address: str) -> None:
    assert refused(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_addresses_outside_are_not(address: str) -> None:
    assert not refused(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_a_webhook_to_this_machine_is_refused_however_it_is_written(receiver: Receiver, host: str) -> None:
    guarded = WebhookProvider("secret", allow_private=False)
    port = receiver.url.rpartition(":")[2]
    (answer,) = guarded.send([call(f"http://{host}:{port}/")])
    guarded.close()
    assert isinstance(answer, GaveUp), answer
    assert "PARCOURS_WEBHOOK_ALLOW_PRIVATE" in answer.error
    assert receiver.calls == []


def test_a_name_that_changes_its_mind_is_asked_once(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def lying(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host != "rebinding.example":
            return real(host, port, *rest, **more)
        asked.append(host)
        # Outside when it is looked at; whoever asks again gets this machine.
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    connected: list[Any] = []

    def refuse(address: Any, *_: Any, **__: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", lying)
    monkeypatch.setattr(socket, "create_connection", refuse)
    guarded = WebhookProvider("secret", allow_private=False)
    (answer,) = guarded.send([call("http://rebinding.example/")])
    guarded.close()
    assert isinstance(answer, Retry)
    assert (asked, connected) == (["rebinding.example"], [("93.184.216.34", 80)])


@pytest.mark.parametrize("url", ["ftp://example.com", "file:///etc/passwd", "not an url", "http://", "http://[::1"])
def test_what_is_no_web_address_is_given_up(webhooks: WebhookProvider, url: str) -> None:
    (answer,) = webhooks.send([call(url)])
    assert isinstance(answer, GaveUp | Retry), answer


def test_an_answer_that_drips_is_cut_off(webhooks: WebhookProvider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        (answer,) = webhooks.send([call(f"http://127.0.0.1:{listening.getsockname()[1]}/", timeout=0.2)])
    assert isinstance(answer, Retry)
    assert answer.away


# Gateways and files.


def test_a_text_is_posted_with_its_key(receiver: Receiver) -> None:
    gateway = Gateway(receiver.url)
    receiver.answers = [(201, {}), (401, {}), (400, {})]
    note = Note("1-2-3-4", START, "ann", "+331", {"text": "Hi"})
    assert gateway.send([note])[0] == Sent()
    unknown, wrong = gateway.send([note, note])
    gateway.close()
    assert isinstance(unknown, Retry)
    assert unknown.away
    assert isinstance(wrong, GaveUp)
    assert json.loads(receiver.calls[0]["body"]) == {"key": "1-2-3-4", "to": "+331", "contact": "ann", "text": "Hi"}
    assert receiver.calls[0]["headers"]["Idempotency-Key"] == "1-2-3-4"


def test_notes_are_lines_of_a_file(tmp_path: Path) -> None:
    files = NoteFiles(tmp_path / "sms")
    assert files.send([Note("1", START, "ann", "+331", {"text": "é"}), Note("2", START, "ben", None, {"text": "b"})])
    (file,) = (tmp_path / "sms").iterdir()
    assert [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()] == ["é", "b"]


def test_a_gateway_whose_answer_drips_is_cut_off() -> None:
    with dripping(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x") as port:
        gateway = Gateway(f"http://127.0.0.1:{port}/", seconds=0.5)
        (answer,) = gateway.send([Note("1", START, "ann", "+331", {"text": "Hi"})])
        gateway.close()
    assert isinstance(answer, Retry)
    assert answer.away


def test_a_mail_server_whose_answer_drips_is_cut_off() -> None:
    with dripping(b"220-", b"x") as port:
        courier = SmtpProvider(smtp_connection.parse(f"smtp://127.0.0.1:{port}"), SENDER, seconds=0.5)
        (answer,) = courier.send([mail()])
        courier.close()
    assert isinstance(answer, Retry)
    assert answer.away


@contextmanager
def dripping(first: bytes, then: bytes) -> Iterator[int]:
    """A server that answers a little at a time and never ends."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                conn, _ = listening.accept()
                with conn:
                    conn.sendall(first)
                    while not ended.wait(0.05):
                        conn.sendall(then)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            ended.set()
            thread.join(5)
