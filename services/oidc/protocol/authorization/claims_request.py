"""The `claims` parameter: claims asked for by name, and what must be true of the sign-in (OpenID Connect Core §5.5)."""

import json
from dataclasses import dataclass, field
from typing import Any

MAX_LENGTH = 6000
"""Characters of the whole parameter."""
MAX_DEPTH = 5
"""The deepest that anything of §5.5 goes is four: member, claim, `values`, value."""
MEMBERS = ("id_token", "userinfo")


class Unreadable(Exception):
    """Not what §5.5 describes; the message may be told."""


@dataclass(frozen=True, kw_only=True)
class ClaimsRequest:
    """What a client asked for, as far as §5.5 gives it a meaning."""

    names: dict[str, list[str]] = field(default_factory=dict)
    """The claims asked for in each member; whether we know them is not said yet."""
    subs: list[str] | None = None
    """Who alone will do; None: anybody."""
    acr_values: list[str] = field(default_factory=list)
    """How strong the sign-in should be, best first."""
    is_acr_essential: bool = False
    """Whether nothing but one of these will do."""


def read_claims_request(text: str) -> ClaimsRequest:
    """Raises Unreadable. Members and claims that we do not know are left out of account (§5.5)."""
    asked = _parse(text)
    names: dict[str, list[str]] = {}
    subs: list[str] | None = None
    acr: dict[str, Any] = {}
    for member in MEMBERS:
        wishes = asked.get(member)
        if wishes is None:
            continue
        if not isinstance(wishes, dict):
            raise Unreadable(f"The member {member} of claims is not an object.")
        for name, wish in wishes.items():
            _check_wish(name, wish)
        names[member] = list(wishes)
        named = _values(wishes.get("sub"))
        if named:
            subs = named if subs is None else [sub for sub in subs if sub in named]
        if member == "id_token":
            acr = wishes.get("acr") or {}
    if subs == []:
        raise Unreadable("The parameter claims names more than one person.")
    values = _values(acr)
    return ClaimsRequest(
        names=names,
        subs=subs,
        acr_values=values,
        is_acr_essential=bool(values) and acr.get("essential") is True,
    )


def _parse(text: str) -> dict[str, Any]:
    """The JSON object, of bounded size and depth, each member once."""
    if len(text) > MAX_LENGTH:
        raise Unreadable("The parameter claims is too long.")
    try:
        found = json.loads(text, object_pairs_hook=_once_each, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Unreadable("The parameter claims is not JSON.") from error
    if not isinstance(found, dict):
        raise Unreadable("The parameter claims is not a JSON object.")
    if _depth(found) > MAX_DEPTH:
        raise Unreadable("The parameter claims is nested too deeply.")
    return found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _depth(value: Any) -> int:
    """How many objects and arrays stand in one another; counted no further than anybody needs to know."""
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, (dict, list))]:
        depth += 1
        if depth > MAX_DEPTH:
            break
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return depth


def _check_wish(name: str, wish: Any) -> None:
    """null, or an object whose members are what §5.5.1 says; its unknown members are left out of account."""
    if wish is None:
        return
    if not isinstance(wish, dict):
        raise Unreadable("A claim is asked for by null or an object.")
    if not isinstance(wish.get("essential", False), bool):
        raise Unreadable("The member essential of a claim is true or false.")
    if "value" in wish and "values" in wish:
        raise Unreadable("A claim is asked for with value or with values.")
    if not isinstance(wish.get("values", []), list):
        raise Unreadable("The member values of a claim is an array.")
    if name in ("sub", "acr") and not all(isinstance(value, str) for value in _raw_values(wish)):
        raise Unreadable(f"The values of {name} are strings.")


def _raw_values(wish: dict[str, Any]) -> list[Any]:
    return [wish["value"]] if "value" in wish else list(wish.get("values", []))


def _values(wish: dict[str, Any] | None) -> list[str]:
    return _raw_values(wish) if wish else []
