"""What cells say about not being written to."""

import pytest

from parcours.producers.files.headers import refusal_of
from parcours.producers.files.refusals import refuses


@pytest.mark.parametrize("word", ["subscribed", "Active", "confirmed", "abonné", "angemeldet", "no", ""])
def test_who_may_be_written_to_is_not_refused_by_a_status(word: str) -> None:
    assert not refuses(word, on_no=False)


@pytest.mark.parametrize("word", ["unsubscribed", "2024-05-01", "yes", "cleaned", "asked not to"])
def test_any_other_word_in_a_column_about_refusing_refuses(word: str) -> None:
    assert refuses(word, on_no=False)


@pytest.mark.parametrize("name", ["GDPR consent", "Consentement RGPD", "Einwilligung"])
def test_a_column_of_consent_refuses_by_its_no(name: str) -> None:
    column = refusal_of(name)
    assert column is not None
    assert column.on_no
    assert refuses("no", on_no=True)
    assert not refuses("yes", on_no=True)
