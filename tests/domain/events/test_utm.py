from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.events.utm import NAMES, utm_of

URL = "https://example.com/a?utm_source=spring&utm_medium=e%20mail&x=1"


@pytest.mark.parametrize(
    ("type_", "data", "said"),
    [
        ("page.hit", {"url": URL}, {"utm_source": "spring", "utm_medium": "e mail"}),
        ("page.hit", {"url": URL, "utm_source": "own"}, {"utm_source": "own", "utm_medium": "e mail"}),
        ("page.hit", {"url": URL, "utm_source": ""}, {"utm_source": "spring", "utm_medium": "e mail"}),
        ("page.hit", {"url": URL, "bot": "a known scanner"}, {}),
        ("page.hit", {"url": "https://example.com/utm_source"}, {}),
        ("page.hit", {"url": "/a?utm_term=%00&utm_content=a%00b"}, {"utm_content": "ab"}),
        ("page.hit", {"url": "https://[?utm_term=a"}, {}),
        ("page.hit", {"url": "/?utm_term=a" + "&utm_term=a" * 200}, {}),
        ("page.hit", {"url": "/?utm_term=" + "a" * 300}, {"utm_term": "a" * 255}),
        ("page.hit", {"url": 5, "utm_term": 5}, {}),
        ("form.submitted", {"fields": {"utm_campaign": "june", "colour": "red"}}, {"utm_campaign": "june"}),
        ("form.submitted", {"form": "signup", "url": URL}, {}),
        ("email.clicked", {"url": URL}, {}),
    ],
)
def test_visits_and_forms_say_where_the_contact_came_from(
    type_: str, data: dict[str, Any], said: dict[str, str]
) -> None:
    assert utm_of(type_, data) == said


@given(
    st.sampled_from(["page.hit", "form.submitted"]),
    st.text("utm_sorce=&%0?/#:[]x\x00", max_size=40).map(lambda text: "?utm_source=" + text) | st.text() | st.none(),
    st.dictionaries(st.sampled_from(NAMES), st.text() | st.integers() | st.none()),
)
def test_whatever_comes_in_what_is_said_can_be_stored(type_: str, url: str | None, named: dict[str, Any]) -> None:
    said = utm_of(type_, {"url": url, "fields": named, **named})
    assert set(said) <= set(NAMES)
    assert all(value.strip() and "\0" not in value and len(value) <= 255 for value in said.values())
