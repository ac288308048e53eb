"""Templates: what is wrong with them, and what they become; the HTML of emails and its text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parcours.domain.messages.templates import EMAIL_NAMES, RenderError, one_line, placeholder, problems, render
from parcours.workers.delivery import html


def wrong(source: str) -> list[tuple[str, int, int]]:
    return [(each.what.split(";")[0].split(",")[0], each.line, each.column) for each in problems(source, EMAIL_NAMES)]


@pytest.mark.parametrize(
    "source",
    [
        "{{ contact.any | upcase }} {{ contact['first name'] }} {{ campaign.key }} {{ step.name }} {{ message.key }}",
        "{% assign a = contact.x %}{{ a }}{% for tag in contact.tags %}{{ forloop.index }}{{ tag }}{% endfor %}",
        "{{ unsubscribe_url }} {{ open_url }} {% if contact.points > 3 %}x{% endif %}",
    ],
)
def test_known_names_are_fine(source: str) -> None:
    assert wrong(source) == []


@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12).filter(
        lambda name: "'" not in name or '"' not in name
    )
)
@example("Letzter Kauf")
@example("and")
@example("Straße")
@example("a\\nb")
@example("size")
def test_the_placeholder_of_a_field_says_its_value(name: str) -> None:
    assert render(placeholder(name), {"contact": {name: "here"}}) == "here"


@pytest.mark.parametrize("source", ["{{ contact.Letzter Kauf }}", "x {{contact.Letzter Kauf | default: 'x' }}"])
def test_a_field_of_two_words_is_told_how_it_is_written(source: str) -> None:
    (found,) = problems(source, EMAIL_NAMES)
    assert found.what.endswith('brackets and quotes: {{ contact["Letzter Kauf"] }}')


def test_unknown_names_are_found_with_their_place() -> None:
    assert wrong("a\n  {{ contcat.x }}") == [("unknown name 'contcat'", 2, 6)]
    assert wrong("{{ step.foo }}") == [("unknown name 'step.foo'", 1, 4)]
    assert wrong("{{ a | nope }}") == [("unknown filter 'nope'", 1, 8), ("unknown name 'a'", 1, 4)]
    assert wrong("{% include 'x' %}") == [("a template cannot include another template", 1, 4)]
    assert len(wrong("{% if %}")) == 1


@given(st.text())
def test_no_value_breaks_out_of_html_or_out_of_a_line(value: str) -> None:
    made = render('<p title="{{ contact.x }}">{{ contact.x }}</p>', {"contact": {"x": value}}, html=True)
    assert made.count("<") == 2
    assert made.count('"') == 2
    assert len(one_line(value).splitlines()) <= 1


def test_a_value_is_never_a_template() -> None:
    assert render("{{ contact.x }}", {"contact": {"x": "{{ contact.key }}"}}) == "{{ contact.key }}"


def test_a_template_without_end_is_stopped() -> None:
    with pytest.raises(RenderError):
        render("{% for i in (1..9999999) %}x{% endfor %}", {})


DOUBLING = "{% assign a = 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' %}" + "{% assign a = a | append: a %}" * 40
SQUARING = "{% assign a = 99999999999999999999 %}" + "{% assign a = a | times: a %}" * 40
GROWING = "{{ 'aaaaaaaaaa'" + " | replace: 'a', 'aaaaaaaaaa'" * 30 + " }}"
LONG = "{% assign a = 'x' %}" + "{% assign a = a | append: a %}" * 17
NESTED = "{% for i in (1..300) %}{% for j in (1..300) %}{{ i | append: 'xxxxxxxx' | upcase }}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        *("{{" * 50_000, "{{ contact.x }}" * 6_000, "x" * 600_000, "{% if true %}" * 3_000 + "{% endif %}" * 2_000),
        *(DOUBLING + "{{ a }}", SQUARING + "{{ a }}", GROWING, NESTED * 9),
        "{{ (1..999999999999) | join: 'x' }}",
        "{% assign a = (1..99999999) | reverse %}",
        "{% for i in (1..90000) %}" + "{% if false %}{% endif %}" * 500 + "{% endfor %}",
        "{% capture a %}{% for i in (1..50000) %}<{% endfor %}{% endcapture %}{{ a | strip_html }}",
        LONG + "{% for i in (1..9000) %}{% if a contains 'xxxxxxxxy' %}{% endif %}{% endfor %}",
        LONG + "{% assign b = a | split: '' | uniq %}",
        LONG + "{{ a | date: '%Y' }}",
        *("{{ contact.x | uniq: 1 }}", "{{ contact.x | compact: 'a' }}"),
    ],
)
def test_no_template_takes_more_than_a_moment_or_raises_anything_else(source: str) -> None:
    began = time.process_time()
    list(problems(source))
    with pytest.raises(RenderError):
        render(source, {"contact": {"x": [1, 2]}})
    # On the processor's clock, and several times what it takes.
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "source",
    [
        "{{ contact.x | compact: 'a', 2, 3 }}",
        "{{ contact.x | uniq: 1 }}",
        "{{ contact.x | upcase: 1 }}",
        "{{ contact.x | replace }}",
        "{{ contact.x | sum: 'a' }}",
        "{{ contact.x | concat: 1 }}",
        "{{ contact.x | join: foo: 1 }}",
        "{{ contact.y | divided_by: 0 }}",
        "{% for each in contact.x limit: 'a' %}{% endfor %}",
    ],
)
def test_what_a_template_does_wrong_is_told_without_words_about_python(source: str) -> None:
    with pytest.raises(RenderError) as caught:
        render(source, {"contact": {"x": [1, "a", {}], "y": 4}})
    assert re.search(r"argument(?!s)|\(\)|object|Error|found (str|int)|positional", str(caught.value)) is None
    assert re.search("the filter '|a number is needed, not a text", str(caught.value))


def test_an_ordinary_newsletter_is_far_from_the_limits() -> None:
    row = "<tr><td>{{ item.name | escape | truncate: 40 }}</td><td>{{ item.price | times: 1.2 | round: 2 }}</td></tr>"
    source = "<p>x</p>" * 10_000 + "{% for item in contact.items %}" + row * 5 + "{% endfor %}"
    items = [{"name": f"Product {n}" * 10, "price": n} for n in range(300)]
    assert render(source, {"contact": {"items": items}}, html=True).count("<tr>") == 1500


def tracked(source: str) -> str:
    return html.with_links(source, lambda url: f"T[{url}]", leave=lambda url: url.endswith("/unsubscribe"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('<a href="https://x.example/?a=1&amp;b=2">', '<a href="T[https://x.example/?a=1&amp;b=2]">'),
        ("<A class=b HREF='http://x'>", '<A class=b HREF="T[http://x]">'),
        ("<a href=http://x>", '<a href="T[http://x]">'),
        ('<a data-href="http://x">', '<a data-href="http://x">'),
        ('<a title="a > b" href="http://x">', '<a title="a > b" href="T[http://x]">'),
        ('<a href="mailto:x@y.z">', '<a href="mailto:x@y.z">'),
        ('<a href="#top">', '<a href="#top">'),
        ('<a href="tel:1">', '<a href="tel:1">'),
        ('<a href="https://x/unsubscribe">', '<a href="https://x/unsubscribe">'),
        ('<link href="http://x"><area href="http://x">', '<link href="http://x"><area href="http://x">'),
        ("<abbr href='http://x'>", "<abbr href='http://x'>"),
    ],
)
def test_links_to_web_addresses_are_tracked_and_nothing_else(source: str, expected: str) -> None:
    assert tracked(source) == expected


@given(st.text(alphabet="<>a href=\"'/:x#-!", max_size=60))
def test_any_html_survives(source: str) -> None:
    html.text_of(html.with_image(tracked(source), "https://x"))


@pytest.mark.parametrize("bit", ["<a ", '<a "', "<a href='", "<!--", "</a ", "<?", "<![", '<a ">'])
def test_tags_without_an_end_take_no_more_than_a_moment(bit: str) -> None:
    source = bit * (400_000 // len(bit))
    began = time.process_time()
    html.text_of(source)
    tracked(source)
    # Sought to the end each by itself, they would take minutes.
    assert time.process_time() - began < 10


def test_the_image_stands_at_the_end_of_the_body() -> None:
    assert html.with_image("<body>x</body></html>", "u").startswith("<body>x<img ")
    assert html.with_image("x", "u").startswith("x<img ")


def test_html_as_text() -> None:
    source = """<html><head><title>no</title><style>p {}</style></head><body><h1>Hello  Ann</h1>
    <p>Look at <a href="https://x.example/a?b=1&amp;c=2">the guide</a>,<br>or <a href="https://y">https://y</a>
    &amp; <a href="mailto:z">write</a>.</p><ul><li>one</li><li>two</li></ul><ol><li>a<li>b</ol><img alt="A cup" src="c">
    <table><tr><td>1</td><td>2</td></tr></table></body></html>"""
    assert html.text_of(source) == (
        "Hello Ann\n\nLook at the guide (https://x.example/a?b=1&c=2),\nor https://y & write.\n\n- one\n- two\n\n"
        "1. a\n2. b\n\nA cup\n\n1 2\n"
    )
