"""What every session asks of the server."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text

from parcours.db.engine import connect
from parcours.domain.errors import CampaignError


def test_the_server_notices_a_machine_that_vanished_within_half_a_minute(engine: Engine) -> None:
    with engine.connect() as conn:
        over_tcp = conn.execute(text("SELECT inet_server_addr() IS NOT NULL")).scalar_one()
        rows = conn.execute(text("SELECT name, setting, source FROM pg_settings WHERE name LIKE 'tcp%'")).all()
    asked = {row.name for row in rows if row.source == "client"}
    assert asked == {"tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout"}
    if over_tcp:
        settings = {row.name: int(row.setting) for row in rows}
        idle, interval, tries = (settings[f"tcp_keepalives_{name}"] for name in ("idle", "interval", "count"))
        assert 0 < idle + interval * tries <= 30


def test_a_process_that_hangs_inside_a_transaction_loses_its_locks(engine: Engine) -> None:
    with engine.connect() as conn:
        assert conn.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "5min"


def test_a_session_that_the_server_ended_is_replaced_before_it_is_used_again(engine: Engine) -> None:
    with engine.connect() as conn:
        first = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = connect(engine.url.render_as_string(hide_password=False))
    with other.connect() as conn:
        assert conn.execute(text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": first}).scalar_one()
    other.dispose()
    with engine.connect() as conn:
        assert conn.execute(text("SELECT pg_backend_pid()")).scalar_one() != first


def test_every_session_is_in_utc_at_read_committed_and_named(engine: Engine) -> None:
    with engine.connect() as conn:
        asked = [conn.execute(text(f"SHOW {name}")).scalar_one() for name in ("timezone", "transaction_isolation")]
        assert asked == ["UTC", "read committed"]
        assert conn.execute(text("SHOW application_name")).scalar_one() == "parcours"
        given = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
        assert conn.execute(text("SELECT CAST(:at AS timestamptz)"), {"at": given}).scalar_one() == given


def test_further_options_of_a_session_show_in_its_url(engine: Engine) -> None:
    plain = engine.url.render_as_string(hide_password=False)
    special = connect(plain, options="-c search_path=elsewhere")
    with special.connect() as conn:
        assert conn.execute(text("SHOW search_path")).scalar_one() == "elsewhere"
        assert conn.execute(text("SHOW timezone")).scalar_one() == "UTC"
    assert str(special.url) != str(engine.url)
    special.dispose()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_way_to_write_postgresql_means_the_same_driver(scheme: str) -> None:
    engine = connect(f"{scheme}://somebody:secret@example.com/parcours")
    assert engine.url.drivername == "postgresql+psycopg"


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "postgresql+asyncpg://u:secret@h/d", "nonsense", "", "a:b@c",
                                 "postgresql://u:secret@h:port/d"])  # fmt: skip
def test_what_is_no_url_of_postgresql_is_told_in_a_sentence_without_its_password(url: str) -> None:
    with pytest.raises(CampaignError, match=r"PARCOURS_DATABASE_URL .*postgresql://") as caught:
        connect(url)
    assert "secret" not in str(caught.value)
