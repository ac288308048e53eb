"""The files of deploy/ and docker-compose.yml keep up with the settings and the queues."""

import re
import shutil
import signal
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from parcours.ops.settings import PREFIX, Settings

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


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")
def test_redis_hears_a_stop_itself_and_asks_for_the_password_which_no_argument_holds(tmp_path: Path) -> None:
    shell, option, script = compose()["services"]["redis"]["command"]
    place = tmp_path / "redis.sock"
    here = f"redis-server - --port 0 --unixsocket {place}"
    script = script.replace("docker-entrypoint.sh redis-server -", here).replace("$$", "$")
    with subprocess.Popen([shell, option, script], env={"REDISCLI_AUTH": "hunter2"}, cwd=tmp_path) as server:
        try:
            client = redis.Redis(unix_socket_path=str(place), password="hunter2")
            while server.poll() is None and not _answers(client):
                pass
            with pytest.raises(redis.exceptions.AuthenticationError):
                redis.Redis(unix_socket_path=str(place)).ping()
            arguments = Path(f"/proc/{server.pid}/cmdline").read_bytes()
            assert b"redis-server" in arguments
            assert b"hunter2" not in arguments
            server.send_signal(signal.SIGTERM)
            assert server.wait(300) == 0
        finally:
            server.kill()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False


def test_no_password_has_a_default_and_one_command_makes_them_all() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    uses = re.findall(r"\$\{(\w*PASSWORD)(:?[-?]?)([^}]*)\}", text)
    assert {name for name, _, _ in uses} == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "RABBITMQ_PASSWORD"}
    assert {(sign, rest) for _, sign, rest in uses} == {(":?", "run deploy/make-passwords >> .env")}
    made = [
        subprocess.run([ROOT / "deploy" / "make-passwords"], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert re.findall(r"^(\w+)=[0-9a-f]{48}$", made[0], re.MULTILINE) == [
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "RABBITMQ_PASSWORD",
    ]
    assert made[0] != made[1]


def test_a_file_of_passwords_is_read_by_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PARCOURS_LOG_LEVEL=info\n", encoding="utf-8")
    file.chmod(0o644)
    subprocess.run(f"'{ROOT}/deploy/make-passwords' >> '{file}'", shell=True, check=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text(encoding="utf-8").splitlines()) == 5


def test_the_image_is_built_with_the_lock_at_hand() -> None:
    used = set(re.findall(r"-r (\S+)", (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")))
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert used == {"requirements.lock"}
    assert {f"!{name}" for name in used} <= set(let_in)


@pytest.mark.parametrize(("name", "extra"), [("requirements.lock", []), ("requirements-dev.lock", ["dev"])])
def test_the_lock_has_every_dependency_with_hashes(name: str, extra: list[str]) -> None:
    lock = (ROOT / name).read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = project["dependencies"] + [each for group in extra for each in project["optional-dependencies"][group]]
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)", lock, re.MULTILINE))
    for each in map(Requirement, asked):
        assert each.specifier.contains(pinned[canonicalize_name(each.name)]), each
    assert "://" not in lock
    for block in re.split(r"^(?=[\w.-]+(?:\[[\w,]+\])?==)", lock, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block, block
