"""The Redis of staging, started by the very command of its manifest."""

import os
import subprocess
from pathlib import Path
from typing import Any

import redis

from gateway.servers import find_redis
from tests.deployment.manifests import components
from tests.running import wait_until

PASSWORD = "9f2c-a-password-that-nobody-else-sees"


def test_it_wants_its_password_evicts_nothing_and_keeps_it_off_the_command_line(tmp_path: Path) -> None:
    [container] = components()["redis"]["containers"]
    shell, option, script = container["command"]
    door = tmp_path / "door"
    (tmp_path / "data").mkdir()
    script = script.replace("/run/valkey", str(tmp_path)).replace("/data", f"{tmp_path}/data")
    own = f"printf 'port 0\\nunixsocket {door}\\n' >> {tmp_path}/valkey.conf"
    script = script.replace("exec valkey-server", f"{own}\nexec {find_redis(embedded=False).program}")
    environ = {"PATH": os.environ["PATH"], "REDIS_PASSWORD": PASSWORD}
    process = subprocess.Popen([shell, option, script], env=environ, stdout=subprocess.DEVNULL)
    try:
        wait_until(door.exists)
        client = redis.Redis(unix_socket_path=str(door), password=PASSWORD)
        settings: Any = client.config_get("*")
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["appendonly"] == "yes"
        assert settings["requirepass"] == PASSWORD
        assert PASSWORD.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        # Kubernetes' SIGTERM reaches the server itself, which writes down what it has.
        process.terminate()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
