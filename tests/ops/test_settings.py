"""Where settings come from: the environment, and a file `.env` beneath it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parcours.ops.settings import Settings, SettingsError, read_settings


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of its own, and an environment without settings."""
    for name in os.environ:
        if name.upper().startswith("PARCOURS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_settings_everything_has_its_default() -> None:
    assert read_settings() == Settings()


def test_the_environment_goes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "# ours\nPARCOURS_HOME=here\nexport PARCOURS_MAX_INBOX='7'\nPARCOURS_PROVIDER_TEXTLINE_KEY=a\nOTHER=1\nBARE\n"
    )
    monkeypatch.setenv("PARCOURS_HOME", "there")
    monkeypatch.setenv("PARCOURS_PROVIDER_TEXTLINE_URL", "b")
    found = read_settings()
    assert (found.home, found.max_inbox) == (Path("there"), 7)
    assert found.provider_options == {"PARCOURS_PROVIDER_TEXTLINE_KEY": "a", "PARCOURS_PROVIDER_TEXTLINE_URL": "b"}


def test_a_name_may_be_in_small_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("parcours_log_level", "ERROR")
    assert read_settings().log_level == "ERROR"


def test_values_of_the_environment_do_not_reach_settings_made_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARCOURS_LOG_LEVEL", "ERROR")
    assert Settings(max_inbox=3).log_level == "INFO"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PARCOURS_HOMME", "x", "did you mean PARCOURS_HOME"),
        ("PARCOURS_MAX_INBOX", "many", "PARCOURS_MAX_INBOX: "),
        ("PARCOURS_DEFAULT_TIMEZONE", "Europe/Pariss", "did you mean 'Europe/Paris'"),
    ],
)
@pytest.mark.parametrize("by_file", [False, True])
def test_what_cannot_be_used_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str, by_file: bool
) -> None:
    if by_file:
        Path(".env").write_text(f"{name}={value}\n")
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said):
        read_settings()


def test_a_file_that_is_no_text_is_refused_in_a_sentence() -> None:
    Path(".env").write_bytes(b"PARCOURS_HOME=\xe9\xff\n")
    with pytest.raises(SettingsError, match="save it as UTF-8"):
        read_settings()


def test_a_mark_at_the_beginning_of_the_file_is_no_part_of_the_first_name() -> None:
    Path(".env").write_bytes(b"\xef\xbb\xbfPARCOURS_MAX_INBOX=7\r\nPARCOURS_LOG_LEVEL=ERROR\r\n")
    found = read_settings()
    assert (found.max_inbox, found.log_level) == (7, "ERROR")


@pytest.mark.parametrize("by_file", [False, True])
@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_an_empty_value_means_the_default(monkeypatch: pytest.MonkeyPatch, name: str, by_file: bool) -> None:
    if by_file:
        Path(".env").write_text(f"PARCOURS_{name.upper()}=\n")
    else:
        monkeypatch.setenv(f"PARCOURS_{name.upper()}", "")
    assert read_settings() == Settings()


def test_an_unknown_name_in_small_letters_is_refused_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("parcours_databse_url", "x")
    with pytest.raises(SettingsError, match="unknown setting parcours_databse_url; did you mean PARCOURS_DATABASE_URL"):
        read_settings()


@pytest.mark.parametrize("line", ["PARCOURS_MAX_INBOX='7", 'PARCOURS_MAX_INBOX="7', "PARCOURS_MAX_INBOX 7"])
def test_a_line_of_ours_that_cannot_be_read_is_refused_with_its_number(line: str) -> None:
    Path(".env").write_text(f"OTHER PROGRAM\nPARCOURS_HOME=here\n{line}\n")
    with pytest.raises(SettingsError, match=r"\.env:3: this line cannot be read"):
        read_settings()


def test_a_line_of_another_program_that_cannot_be_read_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    Path(".env").write_text("OTHER PROGRAM\nPARCOURS_MAX_INBOX=7\n")
    assert read_settings().max_inbox == 7
    assert not caplog.records
