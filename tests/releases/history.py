"""Releases as git knows them, and the code of one in a folder of its own, ready to run."""

import io
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import dev
from tests.conftest import SERVICES
from tests.running import ROOT

Version = tuple[int, ...]


def version_of(tag: str) -> Version:
    """v1.2.3 or 1.2.3 as numbers that compare."""
    return tuple(int(number) for number in tag.removeprefix("v").split("."))


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tags(*which: str) -> list[str]:
    """The releases that lead to this code, the oldest first; none where its history did not come along."""
    if not (ROOT / ".git").exists():
        return []
    found = git("tag", "--list", "v*", "--merged", "HEAD", *which).split()
    return sorted((tag for tag in found if re.fullmatch(r"v\d+\.\d+\.\d+", tag)), key=version_of)


def releases_before() -> list[str]:
    """The same without one that is this very code."""
    here = set(tags("--points-at", "HEAD"))
    return [tag for tag in tags() if tag not in here]


def previous_release() -> str | None:
    """What an upgrade starts from: the commit or tag that RELEASE names, else the newest release before this code."""
    return os.environ.get("RELEASE") or next(reversed(releases_before()), None)


def blobs_of(ref: str, folder: str) -> dict[str, str]:
    """The files that a release has in a folder, with the fingerprints of their contents."""
    lines = git("ls-tree", "-r", ref, f"{folder}/").splitlines()
    return {path: kind.split()[2] for kind, _, path in (line.partition("\t") for line in lines)}


@dataclass(frozen=True)
class Tree:
    """The code of a release in a folder."""

    name: str
    folder: Path

    @classmethod
    def of(cls, ref: str, folder: Path) -> "Tree":
        """Check a release out into a new folder."""
        done = subprocess.run(["git", "archive", ref], cwd=ROOT, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return cls._unpack(ref, done.stdout, folder)

    @classmethod
    def of_here(cls, name: str, folder: Path) -> "Tree":
        """A copy of the code as it stands here, committed or not."""
        files = git("ls-files", "--cached", "--others", "--exclude-standard").splitlines()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for file in files:
                if (ROOT / file).is_file():
                    archive.add(ROOT / file, arcname=file)
        return cls._unpack(name, packed.getvalue(), folder)

    @classmethod
    def _unpack(cls, name: str, packed: bytes, folder: Path) -> "Tree":
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        tree = cls(name, folder)
        tree._make_ready()
        return tree

    @property
    def python(self) -> Path:
        return self.folder / ".venv" / "bin" / "python"

    def _make_ready(self) -> None:
        """Its packages, which are ours where it asks for the same, and its catalogues, which no commit holds."""
        lock = dev.RUN_LOCK
        if (self.folder / lock).read_bytes() == (ROOT / lock).read_bytes():
            (self.folder / ".venv").symlink_to(Path(sys.prefix))
            catalogues = sorted(self.folder.glob("*/**/LC_MESSAGES/*.po"))
            subprocess.run([sys.executable, "-c", dev.COMPILE, *catalogues], check=True)
        else:
            make = "import dev; dev.prepare(dev.RUN_LOCK)"
            subprocess.run([sys.executable, "-c", make], cwd=self.folder, check=True)

    def head(self, service: str) -> str:
        """The newest of its migrations."""
        return max(file.name[:4] for file in self._migrations(service).glob("[0-9]*.py"))

    def add_migration(self, service: str, statements: list[str], *, doc: str) -> None:
        """One more after its newest, which runs these statements of `op`."""
        before = self.head(service)
        number = f"{int(before) + 1:04d}"
        body = "\n".join(f"    {statement}" for statement in statements)
        text = (
            f'"""{doc}"""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
            f'revision = "{number}"\ndown_revision = "{before}"\n\n\ndef upgrade() -> None:\n{body}\n'
        )
        (self._migrations(service) / f"{number}_added.py").write_text(text)

    def _migrations(self, service: str) -> Path:
        assert service in SERVICES
        return self.folder / "services" / service / "migrations" / "versions"
