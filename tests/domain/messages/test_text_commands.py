"""STOP and its like, and nothing else, are commands."""

import pytest

from parcours.domain.messages.text_commands import command_of


@pytest.mark.parametrize(
    "text", ["STOP", " stop. ", "Stop!", "STOPALL", "Opt-out", "Arrêt", "ARRE\u0302T", "me désabonner"]
)
def test_a_text_that_says_stop_is_one(text: str) -> None:
    assert command_of(text) == "stop"


@pytest.mark.parametrize(
    "text",
    [
        *("STOPP", "abmelden!", "Abbestellen", "BAJA", "Alto.", "CANCELAR"),
        *("cancella", "Annulla", "AFMELDEN", "parar", "Sair"),
    ],
)
def test_stop_is_understood_in_german_spanish_italian_dutch_and_portuguese(text: str) -> None:
    assert command_of(text) == "stop"


@pytest.mark.parametrize("text", ["Anmelden", "abonnieren", "suscribir", "iscriviti", "aanmelden", "Subscrever"])
def test_start_is_understood_in_these_languages(text: str) -> None:
    assert command_of(text) == "start"


@pytest.mark.parametrize(
    "text",
    [
        *("no alto", "alto nivel", "bitte abmelden um 5", "cancelar la cita"),
        *("baja temporada", "quero sair hoje", "de alta"),
    ],
)
def test_such_a_word_in_a_sentence_is_none(text: str) -> None:
    assert command_of(text) is None


@pytest.mark.parametrize("text", ["start", "UNSTOP", "Opt-in", "me réabonner"])
def test_a_text_that_takes_it_back_is_one(text: str) -> None:
    assert command_of(text) == "start"


@pytest.mark.parametrize(
    "text",
    ["", "don't stop", "stop by at 5?", "\ud83d", "stop" * 40, None, 7, "end of story"],
)
def test_a_sentence_is_none(text: object) -> None:
    assert command_of(text) is None


@pytest.mark.parametrize("text", ["oui", "Oui !", "alta", "yes", "resume", "reprendre", "reprise"])
def test_what_may_answer_another_question_takes_nothing_back(text: str) -> None:
    assert command_of(text) is None
