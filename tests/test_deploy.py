"""The files of deploy/ and docker-compose.yml keep up with the settings and the queues."""

import re
from pathlib import Path
from typing import Any

import yaml

from settings import PREFIX, Settings

ROOT = Path(__file__).parent.parent
QUEUES = {"membership", "decisions", "executor", "delivery", "sweeps"}
KNOWN = {PREFIX + name.upper() for name in Settings.model_fields}


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


def test_the_example_environment_names_every_setting_and_no_other() -> None:
    text = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")
    assert set(re.findall(rf"^#?({PREFIX}\w+)=", text, re.MULTILINE)) == KNOWN


def test_every_container_of_ours_is_given_every_setting() -> None:
    ours = {name: service for name, service in compose()["services"].items() if "build" in service}
    assert {"migrate", "tick"} < ours.keys()
    for name, service in ours.items():
        assert set(service["environment"]) == KNOWN, name


def test_every_queue_has_its_pool_with_time_to_stop_and_a_memory_limit() -> None:
    services = compose()["services"]
    for queue in QUEUES:
        pool = services[f"worker-{queue}"]
        assert pool["command"][:3] == ["worker", "--queues", queue]
        assert (pool["stop_grace_period"], pool["mem_limit"]) == ("90s", "256m")
    assert {name for name in services if name.startswith("worker-")} == {f"worker-{queue}" for queue in QUEUES}


def test_no_password_is_written_down_but_loud_placeholders() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults = re.findall(r"\$\{\w*PASSWORD:?-?([^}]*)\}", text)
    assert defaults
    assert all(default.startswith("CHANGE-ME") for default in defaults)
