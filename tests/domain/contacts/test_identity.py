"""One notion of an address, a timezone and a phone number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.contacts.identity import (
    IdentityError,
    address,
    is_address,
    phone,
    same_address,
    timezone,
    wire_address,
    wire_sender,
)


@pytest.mark.parametrize(
    "text", ["ann@example.com", " Ann.O'Neil+tag@Example.co.uk ", "j\xfcrgen@ex\xe4mple.de", "a@b.co", "1@2.museum"]
)
def test_an_address_is_kept_as_it_was_spelled_without_spaces_around(text: str) -> None:
    assert address(text) == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "ant@x,bee@x", "ant@x.org,bee@x.org", "cat@x.org;dog@x.org", "mailto:eve@x.org", "fox@@x.org",
        "gnu@x.org.", "h\u200ben@x.org", "hen@x\u200b.org", "ibis@localhost", "Jay <jay@x.org>", "<kid@x.org>",
        "a b@x.org", ".a@x.org", "a..b@x.org", "a@-x.org", "a@127.0.0.1", "a@[127.0.0.1]",
        "a\ud83d@x.org", "a\0@x.org", "a\n@x.org",
        "x" * 65 + "@x.org", "a@" + "x" * 64 + ".org", "a@" + "xx." * 90 + "org",
    ],
)  # fmt: skip
def test_what_is_not_one_mailbox_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(IdentityError) as caught:
        address(text)
    assert str(caught.value).isprintable()


@given(st.text())
def test_every_text_is_an_address_or_told_why_not(text: str) -> None:
    if is_address(text):
        assert address(address(text)) == address(text)


@pytest.mark.parametrize(
    ("name", "known"), [("Europe/Paris", "Europe/Paris"), (" europe/paris", "Europe/Paris"), ("utc", "UTC")]
)
def test_a_timezone_has_one_spelling(name: str, known: str) -> None:
    assert timezone(name) == known


@pytest.mark.parametrize(
    "name", ["", "Central European Time", "localtime", "../etc/passwd", "Europe/Pariss", "x" * 999]
)
def test_a_timezone_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(IdentityError, match="unknown timezone"):
        timezone(name)


@pytest.mark.parametrize(
    ("text", "country"),
    [("+33 1 23 45 67 89", None), ("0033 1 23 45 67 89", "US"), ("01.23.45.67.89", "fr"), ("(+33) 123456789", "DE")],
)
def test_a_phone_number_has_one_spelling(text: str, country: str | None) -> None:
    assert phone(text, country) == "+33123456789"


@pytest.mark.parametrize("text", ["", "hello", "12", "9" * 3000, "01 23 45 67 89", "\u0661\ud83d"])
def test_what_is_no_phone_number_is_refused(text: str) -> None:
    with pytest.raises(IdentityError):
        phone(text)


@pytest.mark.parametrize(
    "text",
    [
        "ant@x.example,bee@x.example",
        "mailto:a@x.example",
        "a@@x.example",
        "a@x",
        "a\u200b@x.example",
        "a@x.example.",
        "",
    ],
)
def test_what_is_no_address_is_none_for_a_mail_server_either(text: str) -> None:
    assert wire_address(text) is None


def test_a_mail_server_gets_the_domain_in_ascii_and_a_sender_may_be_a_host_of_the_own_network() -> None:
    assert wire_address(" Käthe@bücher.example ") == "Käthe@xn--bcher-kva.example"
    assert (wire_sender("parcours@localhost"), wire_address("parcours@localhost")) == ("parcours@localhost", None)
    assert (wire_sender("a@b@localhost"), wire_sender("a,b@localhost"), wire_sender("")) == (None, None, None)


def test_the_sender_that_is_made_of_the_default_address_is_one() -> None:
    assert wire_sender("parcours@127.0.0.1") == "parcours@127.0.0.1"
    assert wire_sender("parcours@a b") is None


@pytest.mark.parametrize("name", ["Factory", "localtime", "posixrules", "Central European Time"])
def test_a_name_that_is_nobodys_timezone_is_refused(name: str) -> None:
    with pytest.raises(IdentityError, match="unknown timezone"):
        timezone(name)


@pytest.mark.parametrize("text", ["ｆｕｌｌ@x.com", "full@ｘ.com", "ﬁne@x.com"])
def test_an_address_in_look_alike_letters_is_no_second_spelling(text: str) -> None:
    with pytest.raises(IdentityError, match="not an email address"):
        address(text)
    assert address("zoë@exämple.com") == "zoë@exämple.com"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("zoe@xn--mnchen-3ya.de", "zoe@münchen.de"),
        ("Zoe@XN--MNCHEN-3YA.de", "Zoe@münchen.de"),
        ("zoe@mu\u0308nchen.de", "zoe@münchen.de"),
        ("rene\u0301@example.com", "rené@example.com"),
        ("zoe@example.com", "zoe@example.com"),
        # No name that we could write otherwise.
        ("zoe@xn--.de", "zoe@xn--.de"),
    ],
)
def test_a_mailbox_has_one_spelling(text: str, kept: str) -> None:
    assert same_address(text) == kept.lower()
    if is_address(text):
        assert address(text) == kept
        assert wire_address(text) == wire_address(kept)
