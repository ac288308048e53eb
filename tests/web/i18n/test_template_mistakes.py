"""What is wrong with a template is told in plain words and both languages, with what to write; never by the library."""

from __future__ import annotations

import re

import pytest

from parcours.domain.messages.templates import EMAIL_NAMES, RenderError, problems, render
from parcours.web.i18n.language import Reader, speaking
from parcours.web.i18n.plain_words import problem
from parcours.web.i18n.sentences import told
from parcours.web.i18n.typography import spaced

# A line with a mistake, and what is said of it.
MISTAKES = {
    "{{ contact.name": "a placeholder is not closed; write }} at its end: {{ contact.name",
    "{{ contact.name } and more": "a placeholder is not closed; write }} at its end: {{ contact.name } and more",
    "{{ contact.a | date %}": "a placeholder is not closed; write }} at its end: {{ contact.a | date %}",
    "{% if contact.a": "a tag is not closed; write %} at its end: {% if contact.a",
    "{{ }}": "a placeholder is empty; write a name in it, such as {{ contact.email }}, or remove it",
    "{% %}": "a tag is empty; remove it: {% %}",
    "{{ {{ contact.a }} }}": "a placeholder has {{ inside of it; write it once, such as {{ contact.email }}: "
    "{{ {{ contact.a }}",
    "{{ contact.name | }}": "the name of a filter is missing after |, such as {{ contact.first_name | upcase }}: "
    "{{ contact.name | }}",
    "{{ contact.name | upcas }}": "unknown filter 'upcas'; did you mean 'upcase'?",
    "{{ contact.name | default: 'x }}": "a quotation mark is missing at the end of a text: "
    "{{ contact.name | default: 'x }}",
    "{{ contact.a | default: “x” }}": "“ is a quotation mark of printed text; type ' or \" instead: "
    "{{ contact.a | default: “x” }}",
    "{% if contact.a %}x": "{% if %} is not closed; add {% endif %} where it ends",
    "{% comment %}x": "{% comment %} is not closed; add {% endcomment %} where it ends",
    "{% raw %}x": "{% raw %} is not closed; add {% endraw %} where it ends",
    "{% if %}x{% endif %}": "{% if %} is incomplete; write it like {% if contact.country == 'FR' %}",
    "{% for x contact.tags %}{% endfor %}": "{% for %} is incomplete; write it like {% for tag in contact.tags %}",
    "{% assign x %}": "{% assign %} is incomplete; write it like {% assign name = contact.first_name %}",
    "x{% endif %}": "{% endif %} closes nothing; add {% if %} before it, or remove it",
    "{% unless contact.a %}{% endif %}": "{% endif %} does not close {% unless %}; write {% endunless %} first",
    "{% else %}": "{% else %} belongs inside of {% if %}, {% unless %} or {% case %}; check where that ends",
    "{% if contact.a %}{% elseif contact.b %}{% endif %}": "unknown tag 'elseif'; did you mean 'elsif'?",
    "{% xyzzy %}": "unknown tag 'xyzzy'; check how it is written, or remove it",
    "{% if contact.a = 1 %}x{% endif %}": "write == instead of = to compare: {% if contact.a = 1 %}",
    "{% if contact.a && contact.b %}{% endif %}": "write and instead of &&: {% if contact.a && contact.b %}",
    "{% if (contact.a) %}{% endif %}": "conditions have no parentheses; put one {% if %} inside of another: "
    "{% if (contact.a) %}",
    "{% if not contact.a %}x{% endif %}": "conditions have no 'not'; use {% unless %} or !=: {% if not contact.a %}",
    "{% if contact.a == %}{% endif %}": "a value is missing; write a name such as contact.email, a number, or a text "
    "in quotes: {% if contact.a == %}",
    "{{ contact. }}": "a name is missing after the dot, such as {{ contact.first_name }}: {{ contact. }}",
    "{{ contact[ }}": "in brackets, a name stands in quotes, such as {{ contact['First name'] }}: {{ contact[ }}",
    "{{ contact.a + 1 }}": "placeholders calculate with filters, such as {{ contact.points | plus: 1 }}: "
    "{{ contact.a + 1 }}",
    "{{ contact.<b>name</b> }}": "a placeholder has formatting or HTML inside of it; type it again as plain text: "
    "{{ contact.<b>name</b> }}",
    "{{ contact.a ? 'b' : 'c' }}": "this cannot be understood; check it for typing mistakes: "
    "{{ contact.a ? 'b' : 'c' }}",
    "{% liquid foo %}": "this cannot be understood; check it for typing mistakes: {% liquid foo %}",
    "{{ first_name }}": "unknown name 'first_name'; a field of the contact is written contact.first_name; other names "
    "are campaign, step, message, entry, unsubscribe_url, open_url",
    "{% include 'a' %}": "a template cannot include another template; write its text here",
    "{% if true %}" * 300: "its blocks are nested too deeply",
}
WHEN_FILLED_IN = {
    "{% if contact.a > 3 %}x{% endif %}": "a text is compared with a number; make a number of it first, such as "
    "{% assign age = contact.age | plus: 0 %}: {% if contact.a > 3 %}",
    "{% for i in contact.l limit: 'a' %}{% endfor %}": "a number is needed, not a text: "
    "{% for i in contact.l limit: 'a' %}",
    "{{ contact.a | divided_by: 0 }}": "the filter 'divided_by' cannot divide by 0",
    "{{ contact.a | nope }}": "unknown filter 'nope'; check how it is written, or remove it",
    "{% break %}": "this cannot be filled in; check how it is written: {% break %}",
    "{{ contact.a": "a placeholder is not closed; write }} at its end: {{ contact.a",
}
# What may stay as it is: code, and what somebody wrote.
CODE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|'[^']*'|\{[{%].*$")
ENGLISH = re.compile(r"\b(?:the|is|its?|write|not|such|with|closed|remove|check|found|expected|unknown)\b")


@pytest.mark.parametrize(("line", "said"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_in_a_template_is_told_with_its_line_and_what_to_write(line: str, said: str) -> None:
    found = list(problems(f"first\n{line}", EMAIL_NAMES))
    assert [each.what for each in found] == [said]
    assert found[0].line == (2 if "too deeply" not in said else 1)
    with speaking(Reader("fr")):
        assert told(said) != said
        assert not ENGLISH.search(CODE.sub("", told(said))), told(said)


@pytest.mark.parametrize(("line", "said"), WHEN_FILLED_IN.items())
def test_what_cannot_be_filled_in_is_told_like_it(line: str, said: str) -> None:
    with pytest.raises(RenderError) as found:
        render(f"first\n{line}", {"contact": {"a": "text", "l": [1, 2]}})
    assert str(found.value) == f"the template cannot be filled in, line 2: {said}"
    with speaking(Reader("fr")):
        french = told(str(found.value))
        assert french.startswith(spaced("fr", "le modèle ne peut pas être rempli, ligne 2 : "))
        assert not ENGLISH.search(CODE.sub("", french)), french


def test_a_block_that_is_open_is_found_where_it_begins() -> None:
    source = "{{ contact.a }}\n{% if contact.b %}\n{% if contact.c %}{% endif %}"
    (found,) = problems(source, EMAIL_NAMES)
    assert (found.line, found.what) == (2, "{% if %} is not closed; add {% endif %} where it ends")


def test_a_page_says_it_without_the_name_of_the_language() -> None:
    with speaking(Reader("fr")):
        said = "invalid Liquid in line 2: {% if %} is not closed; add {% endif %} where it ends"
        assert told(problem(said)).startswith(spaced("fr", "ligne 2 : {% if %} n’est pas fermé ;"))
        assert told(problem("body.a[0].b: invalid Liquid: unknown filter 'nope'; did you mean 'size'?")) == spaced(
            "fr", "filtre inconnu 'nope' ; vouliez-vous dire 'size' ?"
        )
