#!/usr/bin/env python3
"""Everything a developer types: makes .venv, starts servers, runs suite and tests. Standard library only.

`python3 dev.py help` lists the commands; the Makefile has a target for each.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.programs import PROGRAMS, apt_install, apt_unpack, prepare_programs

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
RUN_LOCK = "requirements-run.txt"
TESTS_LOCK = "tests/requirements.txt"
SERVICES = ("account", "onboarding", "oidc", "notification")
CATALOGUES = ("libs/web", "gateway", *(f"services/{name}" for name in SERVICES))


class Refusal(Exception):
    """What keeps a command from doing its work, as a sentence for the person at the keyboard."""


# ---------------------------------------------------------------------------------------------- environment


def prepare(*locks: str) -> None:
    """Bring .venv to what the locks say and compile the catalogues; does nothing when nothing changed."""
    with _alone():
        if not _works(PYTHON):
            _make_venv()
        stamp = VENV / ".installed.json"
        installed = json.loads(stamp.read_text()) if stamp.exists() else {}
        wanted = {lock: hashlib.sha256((ROOT / lock).read_bytes()).hexdigest() for lock in locks}
        for lock in locks:
            if installed.get(lock) != wanted[lock]:
                print(f"Installing what {lock} names …", flush=True)
                _install(ROOT / lock)
                stamp.write_text(json.dumps(installed | wanted))
        _compile_catalogues()


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two commands side by side prepare one after the other."""
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _works(python: Path) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return python.exists() and subprocess.run([python, "-c", check], capture_output=True).returncode == 0


def _make_venv() -> None:
    """Make .venv also where Debian has cut venv and pip out of Python."""
    if VENV.exists():
        shutil.rmtree(VENV)
    print("Making .venv …", flush=True)
    may_install = os.geteuid() == 0 and shutil.which("apt-get")
    if may_install and not _has_module("ensurepip") and not _has_module("pip"):
        apt_install("python3-venv")
    if _python("-c", "import ensurepip"):
        # A child, so that a package installed just now is seen.
        if _python("-m", "venv", str(VENV)):
            return
        shutil.rmtree(VENV, ignore_errors=True)
    if not _python("-m", "venv", "--without-pip", str(VENV)):
        raise Refusal("This Python cannot make a virtual environment: install python3-venv.")


def _has_module(name: str) -> bool:
    return _python("-c", f"import {name}")


def _python(*arguments: str) -> bool:
    return subprocess.run([sys.executable, *arguments], capture_output=True).returncode == 0


def _install(lock: Path) -> None:
    """Install hash-checked requirements with uv, which takes seconds; with pip where uv cannot."""
    options = ["install", "--quiet", "--require-hashes", "--no-deps", "--requirement"]
    if not (VENV / "bin" / "uv").exists():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_uv:
            only_uv.write("\n".join(re.findall(r"^uv==(?:.*\\\n)*.*$", lock.read_text(), re.MULTILINE)))
            only_uv.flush()
            _pip(*options, only_uv.name, check=False)
    if (VENV / "bin" / "uv").exists():
        uv = subprocess.run([VENV / "bin" / "uv", "pip", *options, str(lock), "--python", str(PYTHON)])
        if uv.returncode == 0:
            return
        print(
            "uv could not install them: trying pip, which reads other settings and takes longer.", flush=True
        )
    _pip(*options, str(lock))


def _pip(*arguments: str, check: bool = True) -> None:
    with contextlib.ExitStack() as stack:
        if subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            command = [str(PYTHON), "-m", "pip"]
        elif _has_module("pip"):
            command = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            command = [str(PYTHON), str(_debian_pip_wheel(Path(folder)) / "pip")]
        if subprocess.run([*command, "--disable-pip-version-check", *arguments]).returncode and check:
            raise Refusal("The requirements could not be installed; what pip said stands above.")


def _debian_pip_wheel(folder: Path) -> Path:
    """pip from Debian's package without installing it, for accounts that may not install packages."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise Refusal("pip is missing: install it (python3-pip), or Python's ensurepip (python3-venv).")
    if not apt_unpack(folder, "python3-pip-whl"):
        raise Refusal("pip is missing and could not be downloaded: install python3-venv.")
    return next((folder / "unpacked").glob("usr/share/python-wheels/pip-*.whl"))


# ---------------------------------------------------------------------------------------------- catalogues

COMPILE = """
import sys
from babel.messages import mofile, pofile
for source in sys.argv[1:]:
    with open(source, "rb") as file:
        catalogue = pofile.read_po(file)
    with open(source[:-2] + "mo", "wb") as file:
        mofile.write_mo(file, catalogue)
"""


def _compile_catalogues() -> None:
    sources = [po for owner in CATALOGUES for po in ROOT.glob(f"{owner}/translations/*/LC_MESSAGES/*.po")]
    stale = [source for source in sources if not _is_newer(source.with_suffix(".mo"), source)]
    if stale and subprocess.run([PYTHON, "-c", COMPILE, *stale]).returncode:
        raise Refusal("A translation catalogue could not be compiled; its file and line stand above.")


def _is_newer(made: Path, source: Path) -> bool:
    return made.exists() and made.stat().st_mtime >= source.stat().st_mtime


def translations() -> int:
    """Extract, update and compile the translation catalogues."""
    prepare(RUN_LOCK)
    babel = [str(PYTHON), "-m", "babel.messages.frontend", "--quiet"]
    with tempfile.TemporaryDirectory() as scratch:
        template = Path(scratch, "messages.pot")
        for owner in CATALOGUES:
            catalogues = sorted(ROOT.glob(f"{owner}/translations/*/LC_MESSAGES/messages.po"))
            if not catalogues:
                continue
            source = "libs" if owner == "libs/web" else owner
            subprocess.run(
                [*babel, "extract", "-F", "babel.cfg", "-k", "lazy_gettext", "-k", "_l", "--add-location=file",
                 "--sort-by-file", "--width=110", "--project=updspace-id", "-o", template, source],
                cwd=ROOT, check=True,
            )  # fmt: skip
            for catalogue in catalogues:
                language = catalogue.parent.parent.name
                subprocess.run(
                    [*babel, "update", "-i", template, "-o", catalogue, "-l", language, "--width=110",
                     "--no-fuzzy-matching", "--ignore-obsolete", "--ignore-pot-creation-date"],
                    cwd=ROOT, check=True,
                )  # fmt: skip
    _compile_catalogues()
    return 0


# ---------------------------------------------------------------------------------------------- commands


def run() -> int:
    """Run everything in one web and one worker process on http://localhost:8000 (PORT, DATA_DIR)."""
    prepare(RUN_LOCK)
    os.execv(PYTHON, [str(PYTHON), "-m", "gateway.launcher"])


def suite() -> int:
    """Run the suite as in production on one machine: a process per service and worker, nginx in front."""
    prepare(RUN_LOCK)
    if prepare_programs("NGINX_PROGRAM"):
        raise Refusal("The suite needs nginx: install it (apt-get install nginx).")
    os.execv(PYTHON, [str(PYTHON), "-m", "gateway.suite"])


def test(*arguments: str) -> int:
    """Run the tests on real servers; arguments go to pytest (make test ARGS="tests/oidc -k token --no-cov")."""
    is_measured = "--no-cov" not in arguments
    arguments = tuple(part for part in arguments if part != "--no-cov")
    # One more than the two cores that it is planned for: tests that wait for other processes leave a core idle.
    return _pytest("not soak and not bench", *arguments, processes=3, is_measured=is_measured)


def soak(*arguments: str) -> int:
    """Run the long and destructive tests: kills, restarts, load."""
    return _pytest("soak", *arguments)


def bench(*arguments: str) -> int:
    """Measure speed and memory, and compare them with the promised figures."""
    return _pytest("bench", *arguments)


def _pytest(marks: str, *arguments: str, processes: int = 1, is_measured: bool = False) -> int:
    from tests.servers import servers_of_a_run

    # Coverage by what rewrites the code, which costs a tenth; by tracing, the tests would take nearly twice as long.
    program = ["python", "-m", "slipcover", "-m", "pytest"] if is_measured else ["pytest"]
    command = [str(VENV / "bin" / program[0]), *program[1:], "-m", marks]
    if processes > 1:
        command += ["-n", str(processes), "--dist=loadscope", "--no-loadscope-reorder"]
    prepare(RUN_LOCK, TESTS_LOCK)
    not_run = prepare_programs(*PROGRAMS)
    if not_run and os.environ.get("REQUIRE_EVERYTHING") == "1":
        raise Refusal("\n".join(["REQUIRE_EVERYTHING=1 asks for all tests.", *not_run]))
    with servers_of_a_run():
        code = _wait_for([*command, *arguments])
    for sentence in not_run:
        print(sentence, flush=True)
    return code


def _wait_for(command: Sequence[str]) -> int:
    """Run a command that hears Ctrl-C itself, and return its exit code once it has cleaned up."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                return process.wait()


def lint() -> int:
    """Check style, import borders and types."""
    prepare(RUN_LOCK, TESTS_LOCK)
    checks = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["lint-imports"], ["mypy"])
    failed = [" ".join(check) for check in checks if _wait_for([str(VENV / "bin" / check[0]), *check[1:]])]
    if failed:
        print("Failed: " + ", ".join(failed), file=sys.stderr)
    return 1 if failed else 0


def lock(*arguments: str) -> int:
    """Resolve all requirements once for all and write the locks (ARGS=--upgrade for newer versions)."""
    prepare(RUN_LOCK)
    compile_ = [str(VENV / "bin" / "uv"), "pip", "compile", "--quiet", "--universal", "--python-version=3.11"]
    compile_ += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    compile_ += ["pyproject.toml"]
    outputs: dict[str, tuple[str, ...]]
    outputs = {f"services/{name}/requirements.txt": (name, "tracing") for name in SERVICES}
    outputs["gateway/requirements.txt"] = ("gateway", "tracing")
    outputs[RUN_LOCK] = (*SERVICES, "gateway", "tracing", "run")
    outputs[TESTS_LOCK] = (*SERVICES, "gateway", "tracing", "run", "tests")
    with tempfile.TemporaryDirectory() as scratch:
        together = Path(scratch, "together.txt")
        if (ROOT / TESTS_LOCK).exists() and "--upgrade" not in arguments:
            shutil.copy(ROOT / TESTS_LOCK, together)  # keep what is locked where it still fits
        subprocess.run([*compile_, "--all-extras", "-o", together, *arguments], check=True)
        for output, extras in outputs.items():
            wanted = [f"--extra={extra}" for extra in extras]
            made = Path(scratch, "made.txt")
            subprocess.run([*compile_, "--generate-hashes", *wanted, "-c", together, "-o", made], check=True)
            (ROOT / output).write_text("# Written by `make lock` from pyproject.toml.\n" + made.read_text())
            made.unlink()
    return 0


def migrate() -> int:
    """Bring the four databases that the settings name to the newest schema."""
    prepare(RUN_LOCK)
    for name in SERVICES:
        if code := _wait_for([str(VENV / "bin" / "flask"), "--app", f"services.{name}", "db", "upgrade"]):
            return code
    return 0


def backup() -> int:
    """Back the four databases up, of DATA_DIR or those that the settings name (BACKUP_DIR, BACKUPS_KEPT)."""
    return _backup("make")


def verify_backup(*arguments: str) -> int:
    """Check a backup, and restore it into databases that are dropped again (BACKUP=backup_YYYYMMDD)."""
    return _backup("verify", *arguments)


def restore(*arguments: str) -> int:
    """Put a backup in the place of the databases; nothing may run (BACKUP=backup_YYYYMMDD CONFIRM=1)."""
    return _backup("restore", *arguments)


def restored(*arguments: str) -> int:
    """Make databases fit that came back by another way than restore; nothing may run (MADE_AT=… CONFIRM=1)."""
    return _backup("restored", *arguments)


def _backup(step: str, *arguments: str) -> int:
    prepare(RUN_LOCK)
    return _wait_for([str(PYTHON), "-m", "gateway.backup", step, *arguments])


def openapi() -> int:
    """Write gateway/openapi.json: the APIs of all services, as their code describes them."""
    prepare(RUN_LOCK)
    with tempfile.TemporaryDirectory() as scratch:
        documents = [str(Path(scratch, f"{name}.json")) for name in SERVICES]
        for name, document in zip(SERVICES, documents, strict=True):
            flask = [str(VENV / "bin" / "flask"), "--app", f"services.{name}", "openapi", "write", document]
            subprocess.run(flask, cwd=ROOT, env=_settings_of_nowhere(name), check=True)
        return _wait_for([str(PYTHON), "-m", "gateway.docs", *documents])


def _settings_of_nowhere(service: str) -> dict[str, str]:
    """An environment in which a service can be assembled, and reaches nothing."""
    key = base64.b64encode(os.urandom(32)).decode()
    return os.environ | {
        "ID_ENV": "development",
        "PUBLIC_URL": "http://localhost:8000",
        "SECRET_KEY": os.urandom(32).hex(),
        "DATA_ENCRYPTION_KEYS": f"once:{key}",
        "EVENT_ENCRYPTION_KEYS": f"once:{key}",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        f"{service.upper()}_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    }


def clean() -> int:
    """Remove what can be made again; .venv, .data and .data-suite stay."""
    for name in (".pytest_cache", ".mypy_cache", ".ruff_cache", ".import_linter_cache"):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for path in ROOT.glob("*/**/translations/*/LC_MESSAGES/*.mo"):
        path.unlink()
    for top in ("libs", "services", "gateway", "tests"):
        for path in [*(ROOT / top).rglob("__pycache__"), *(ROOT / top).rglob("node_modules")]:
            shutil.rmtree(path, ignore_errors=True)
    return 0


def help_() -> int:
    """List the commands."""
    for name, command in COMMANDS.items():
        print(f"  {name:<13} {(command.__doc__ or '').splitlines()[0]}")
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    command.__name__.rstrip("_").replace("_", "-"): command
    for command in (
        *(run, suite, test, soak, bench, lint, lock, translations, openapi, migrate),
        *(backup, verify_backup, restore, restored, clean, help_),
    )
}


def main(arguments: Sequence[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (people with an older one should hear a sentence)
        raise Refusal(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    name = arguments[0] if arguments else "help"
    if name not in COMMANDS:
        raise Refusal(f"There is no command {name}; `python3 dev.py help` lists them.")
    takes_more = COMMANDS[name].__code__.co_flags & 0x04  # *arguments
    if arguments[1:] and not takes_more:
        raise Refusal(f"The command {name} takes no arguments.")
    for folder in ("DATA_DIR", "BACKUP_DIR"):
        if os.environ.get(folder):
            os.environ[folder] = os.path.abspath(os.environ[folder])
    os.chdir(ROOT)
    return COMMANDS[name](*arguments[1:])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} failed with code {error.returncode}: see above.", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if isinstance(error, Refusal) or type(error).__name__ == "ServerError":
            print(error, file=sys.stderr)
            sys.exit(1)
        raise
