"""An operator at a shell: `kubectl` and `curl` as the runbook writes them, against a running suite."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.pages import HTTPBrowser
from tests.running import ROOT, House, link_in, wait_until

MEMBER = "user@example.com"
"""Whom the runbook is about."""

KUBECTL = f"""#!{sys.executable}
import json, os, sys, time
arguments = sys.argv[1:]
sys.path.insert(0, {str(ROOT)!r})
from tests.runbook.commands import ask
from tests.runbook.cluster import answer, load, store
secrets = load("SECRETS")
os.environ.update(load("RUNNING"))
code = answer(arguments, secrets)
if code is not None:
    sys.exit(code)
if arguments[:2] == ["set", "env"]:
    # A pod that starts so is ready when its health says so.
    deployments = [word for word in arguments if word.startswith("deployment/id-")]
    for word in arguments[2:]:
        if "=" in word:
            os.environ.update([word.split("=", 1)])
        elif word.endswith("-"):
            del os.environ[word[:-1]]
    for service in [word.removeprefix("deployment/id-").removesuffix("-worker") for word in deployments]:
        with open(os.devnull, "w") as nowhere:
            code = ask(os.environ["COMMANDS"], ["--app", "services." + service, "health"], [0, nowhere.fileno(), 2])
        print("deployment env updated" if not code else "not ready")
    sys.exit()
if arguments[:3] == ["apply", "-f", "k8s/jobs.yaml"]:
    # A Job may speak to PostgreSQL, and to no Redis.
    import yaml
    os.environ["REDIS_URL"] = "redis://127.0.0.1:1/0"
    for job in yaml.safe_load_all(open({str(ROOT / "k8s/jobs.yaml")!r})):
        [container] = job["spec"]["template"]["spec"]["containers"]
        code = ask(os.environ["COMMANDS"], container["command"][1:])
        if code:
            sys.exit(code)
        print("job.batch/" + job["metadata"]["name"], "created")
    sys.exit()
where = next((word for word in arguments if word.startswith(("deployment/id-", "svc/id-service"))), "")
service = where.removeprefix("deployment/id-").removesuffix("-worker")
runs_here = arguments[0] in ("exec", "port-forward") or arguments[:2] in (
    ["rollout", "restart"], ["rollout", "status"])
if not where or not runs_here:
    # Whether there would be something to do for it is what test_kubectl.py reads.
    print("no cluster here: kubectl", *arguments)
    sys.exit()
assert service in ("gateway", "account", "onboarding", "oidc", "notification", "svc/id-service"), where
if arguments[0] == "exec":
    command = arguments[arguments.index("--") + 1:]
    assert command[:3] == ["flask", "--app", "services." + service], command
    sys.exit(ask(os.environ["COMMANDS"], command[1:]))
elif arguments[:2] == ["rollout", "restart"]:
    # A pod that starts has the secret as it is now, and is ready when its health says so.
    store("RUNNING", secrets)
    os.environ.update(secrets)
    with open(os.devnull, "w") as nowhere:
        sys.exit(ask(os.environ["COMMANDS"], ["--app", "services." + service, "health"], [0, nowhere.fileno(), 2]))
elif arguments[:2] == ["rollout", "status"]:
    print("deployment", where.partition("/")[2], "successfully rolled out")
elif arguments[0] == "port-forward":
    assert arguments[-1] in ("8001:8001", "8001:80"), arguments
    time.sleep(60)
else:
    sys.exit("no such command here: " + arguments[0])
"""

CURL = f"""#!{sys.executable}
import os, sys, urllib.error, urllib.request
url = sys.argv[-1].replace("https://id.updspace.com", os.environ["ORIGIN"])
# A pod's own port has metrics, the gateway's Service has what people see.
behind = "METRICS_ORIGIN" if url.endswith("/metrics") else "ORIGIN"
url = url.replace("http://localhost:8001", os.environ[behind])
try:
    print(urllib.request.urlopen(url, timeout=20).read().decode(), end="")
except urllib.error.HTTPError as error:  # curl prints what came, too
    print(error.read().decode(), end="")
"""


JQ = f"""#!{sys.executable}
import json, sys
keys = json.load(sys.stdin)["keys"]
if sys.argv[1:] == [".keys | length"]:
    print(len(keys))
else:
    assert sys.argv[1:3] == ["-r", '.keys[] | "Kid: \\\\(.kid), Alg: \\\\(.alg)"'], sys.argv
    print(*("Kid: " + key["kid"] + ", Alg: " + key["alg"] for key in keys), sep="\\n")
"""

PROVIDER = {"GITHUB_CLIENT_ID": "runbook", "GITHUB_CLIENT_SECRET": "a-secret-of-github"}

FAIL_FIVE_TIMES = """
import contextlib
from libs.guard.breakers import BreakerOpen, Down
from libs.observe.logs import set_service
from libs.service import parts_of
from services.account import create_app

def fail():
    raise Down("out for lunch")

app = create_app()
set_service("account")
with app.app_context():
    breaker = parts_of(app).breakers.declare("github_oauth")
    for _ in range(5):
        with contextlib.suppress(Down, BreakerOpen):
            breaker.call(fail)
"""

PARK_A_LOGOUT = """
from services.oidc import create_app
from services.oidc.extensions import db
from services.oidc.flows.clients import create_client
from services.oidc.models import LogoutDelivery

app = create_app()
with app.app_context(), db.transaction() as session:
    made = create_client(
        name="Calendar", redirect_uris=["https://app.test/cb"], backchannel_logout_uri="https://app.test/logout"
    )
    row = LogoutDelivery(
        client_id=made.client.client_id, sub="s", cause="disabled", state="parked", attempts=60,
        last_error="not reached",
    )
    session.add(row)
    session.flush()
    logout_id = str(row.id)
print("LOGOUT_ID", logout_id)
"""

LOSE_A_MAIL = """
from libs.database import utcnow
from services.notification import create_app
from services.notification.extensions import db
from services.notification.flows import suppressions
from services.notification.models import Message

app = create_app()
with app.app_context(), db.transaction() as session:
    message = session.query(Message).filter_by(recipient="user@example.com").order_by(Message.id.desc()).first()
    message_id = str(message.id)
    suppressions.suppress(email="user@example.com", reason="bounced")
print("MESSAGE_ID", message_id)
"""

HOLD_A_MAIL = """
from libs.database import utcnow
from services.notification import create_app
from services.notification.extensions import db
from services.notification.flows import messages
from services.notification.models import Message

app = create_app()
with app.app_context(), db.transaction():
    message_id = messages.request_mail(
        template="account_erased", recipient="held@example.com", locale="en", context={"name": "Uma"},
        deduplication_key=f"runbook:{utcnow()}",
    )
    db.session.get(Message, message_id).state = "held"
print("HELD", message_id)
"""


class Operator:
    """Whoever has the runbook open, and the member whom it is about."""

    def __init__(self, house: House, bin_folder: Path):
        self.house = house
        self.password = "five green turtles swim at night"
        self.bin = bin_folder
        self.is_member = False
        self.socket = bin_folder / "commands"
        self.commands = subprocess.Popen(
            [sys.executable, "-m", "tests.runbook.commands", str(self.socket)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.commands.stdout is not None
        assert self.commands.stdout.readline() == "ready\n"
        (bin_folder / "k8s").symlink_to(ROOT / "k8s")  # whoever types has the checkout before them
        programs = {"kubectl": KUBECTL, "curl": CURL}
        if shutil.which("jq") is None:
            programs["jq"] = JQ
        for name, text in programs.items():
            program = bin_folder / name
            program.write_text(text)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def run(self, text: str, environ: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """A block as bash runs it; the first line that fails ends it."""
        own = {name: value for name, value in self.house.environ.items() if not name.startswith("ADMIN_")}
        own |= {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "COMMANDS": str(self.socket),
            "SECRETS": str(self.bin / "secrets.json"),
            "RUNNING": str(self.bin / "running.json"),
            "ORIGIN": self.house.origin,
            "METRICS_ORIGIN": f"http://127.0.0.1:{self.house.metrics_port}",
        }
        own |= PROVIDER
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.bin,
            env={**own, **environ},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def command(self, service: str, *arguments: str) -> str:
        done = self.try_command(service, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_command(self, service: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        words = [
            f"deployment/id-{service}",
            "-n",
            "updspace-id",
            "--",
            "flask",
            "--app",
            f"services.{service}",
        ]
        return self.run(shlex.join(["kubectl", "exec", *words, *arguments]), {})

    # The cluster's secret, as patches have made it; what none has touched is as the suite has it.

    def kept(self, setting: str) -> str:
        """What the running suite has."""
        lines = (self.house.folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)[setting]

    def read_secrets(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.bin / "secrets.json").read_text())
        return found

    def write_secrets(self, secrets: Mapping[str, str]) -> None:
        """As patches made it, and every pod was restarted since."""
        for name in ("secrets.json", "running.json"):
            (self.bin / name).write_text(json.dumps(dict(secrets)))

    def sql(self, text: str) -> str:
        """As the database's administrator."""
        words = ["exec", "-i", "postgres-0", "-n", "updspace-id", "--", "psql", "-U", "postgres", "-c", text]
        done = self.run(shlex.join(["kubectl", *words]), {})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def break_github(self) -> None:
        """GitHub has failed five times in a row, for a process that logs where the suite's web process does."""
        environ = {**self.house.environ, **PROVIDER}
        log = self.house.folder / "log" / "web.jsonl"
        with log.open("a") as output:
            command = [sys.executable, "-c", FAIL_FIVE_TIMES]
            subprocess.run(
                command, cwd=ROOT, env=environ, stdout=output, stderr=output, check=True, timeout=60
            )

    def park_a_logout(self) -> dict[str, str]:
        """An app was away for a day when somebody signed out."""
        return self._arrange(PARK_A_LOGOUT)

    def lose_a_mail(self) -> dict[str, str]:
        """The member was mailed, and the mailbox came back."""
        self.member()
        return self._arrange(LOSE_A_MAIL)

    def hold_a_mail(self) -> dict[str, str]:
        """The databases were restored while mail waited."""
        return self._arrange(HOLD_A_MAIL)

    def _arrange(self, program: str) -> dict[str, str]:
        """Run a program that prints the name of a variable and its value."""
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=ROOT, env=self.house.environ, capture_output=True, text=True, check=True, timeout=60
        )
        name, value = done.stdout.splitlines()[-1].split()
        return {name: value}

    # The member's way in, as far as a block needs it; each step is made once.

    def has_account(self) -> bool:
        return self.try_command("account", "users", "show", MEMBER).returncode == 0

    def applicant(self) -> None:
        """user@example.com has applied and was approved, and their activation mail is lost."""
        if (
            self.has_account()
            or self.try_command("onboarding", "applications", "show", MEMBER).returncode == 0
        ):
            return
        browser = self.house.browser()
        browser.fill("/apply", email=MEMBER, name="Uma Example", why="I build things, and like people.")
        assert browser.status == 303
        self.house.wait_for_mail(MEMBER)
        browser.fill(link_in(self.house.mail(MEMBER)[0]["text"]), button="confirm", follow=True)
        self.command("onboarding", "applications", "approve", MEMBER)

    def member(self) -> None:
        """user@example.com has an account, may sign in, and knows the password."""
        if self.is_member:
            return
        if not self.has_account():
            self.applicant()
            self.command("onboarding", "applications", "activate", MEMBER)
            wait_until(self.has_account)
        self.set_password()
        self.is_member = True

    def password_links(self) -> list[str]:
        """What has been mailed to set a password with, newest first."""
        texts = [mail["text"] for mail in self.house.mail(MEMBER)]
        found = (re.search(r"https?://\S+/password/\w+\?token=\S+", text) for text in texts)
        return [link[0] for link in found if link]

    def set_password(self, *, beyond: int = 0) -> None:
        """By the newest mailed link, once there are more than so many."""
        wait_until(lambda: len(self.password_links()) > beyond)
        browser = self.house.browser()
        browser.fill(self.password_links()[0], password=self.password)
        assert browser.status == 303, browser.text

    def try_sign_in(self, password: str | None = None) -> HTTPBrowser:
        browser = self.house.browser()
        browser.fill("/login", email=MEMBER, password=password or self.password)
        return browser

    def signed_in(self) -> HTTPBrowser:
        self.member()
        browser = self.try_sign_in()
        assert browser.status == 303, browser.text
        return browser


@pytest.fixture(scope="session")
def operator(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    operator = Operator(house, tmp_path_factory.mktemp("bin"))
    yield operator
    operator.commands.kill()
    operator.commands.communicate()


def is_signed_in(browser: Any) -> bool:
    return bool(browser.get("/account").status_code == 200)
