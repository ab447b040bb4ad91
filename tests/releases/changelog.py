"""What says which release this is: pyproject.toml, CHANGELOG.md, the tags, and whatever names an image."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.releases.history import version_of
from tests.running import ROOT

NAMED = ("Dockerfile", "docker-compose.yml", "k8s/**/*.yaml")
_IMAGE = re.compile(r"(?:updspace-id-\w+:|newTag: )(\d+\.\d+\.\d+)")


def version() -> str:
    """The release in pyproject.toml."""
    found: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return found


def named_images() -> dict[str, set[str]]:
    """The releases of images that each file names."""
    files: list[Path] = [file for pattern in NAMED for file in sorted(ROOT.glob(pattern))]
    named = {str(file.relative_to(ROOT)): set(_IMAGE.findall(file.read_text())) for file in files}
    return {file: releases for file, releases in named.items() if releases}


def disagreements(
    changelog: str, version: str, tags: Sequence[str], images: Mapping[str, Iterable[str]]
) -> list[str]:
    """Where they say different things, as sentences."""
    return [
        *_of_headings(re.findall(r"^## (.*)$", changelog, re.MULTILINE), version, tags),
        *(
            f"{file} names images of {other}, and pyproject.toml says {version}."
            for file, releases in images.items()
            for other in sorted(set(releases) - {version})
        ),
    ]


def _of_headings(headings: list[str], version: str, tags: Sequence[str]) -> Iterable[str]:
    if not headings or headings[0] != "Unreleased":
        yield "The first heading of CHANGELOG.md is Unreleased."
    released = []
    for heading in headings[1:]:
        found = re.fullmatch(r"(\d+\.\d+\.\d+) \(\d{4}-\d{2}-\d{2}\)", heading)
        if not found:
            yield f"CHANGELOG.md: a release's heading is ## 1.2.3 (2026-12-31), not ## {heading}."
        else:
            released.append(found[1])
    if sorted(released, key=version_of, reverse=True) != released:
        yield "CHANGELOG.md: the newest release stands first."
    if released and released[0] != version:
        yield f"CHANGELOG.md has released {released[0]}, and pyproject.toml says {version}."
    tagged = {tag.removeprefix("v") for tag in tags}
    for other in sorted(tagged - set(released), key=version_of):
        yield f"The tag v{other} has no heading in CHANGELOG.md."
    if tags:  # a history that came along without tags says nothing about them
        # The newest one is tagged once its commit is made.
        for other in released[1:]:
            if other not in tagged:
                yield f"CHANGELOG.md has released {other}, and no tag v{other} leads here."
