"""What every session asks of the server."""

from sqlalchemy import Engine, text


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
