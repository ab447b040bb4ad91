"""keys: what tokens are signed with."""

from datetime import datetime

import click
from flask.cli import AppGroup

from libs.commands import command, done, show, wait_for_events
from libs.people.bearer.tokens import KINDS
from services.oidc.flows import keys as flows

keys = AppGroup("keys", help="What tokens are signed with.")

ALGORITHM = click.option("--alg", type=click.Choice(list(KINDS)), help="Of this algorithm alone.")


@keys.command("list", help="Every key, those that sign first, and when each changes by itself.")
@command
def list_signing_keys(as_json: bool) -> None:
    rows = [
        {
            "kid": key.kid,
            "alg": key.alg,
            "state": key.state + (", withdrawn" if key.withdrawn_at and not as_json else ""),
            "created_at": key.created_at,
            "activated_at": key.activated_at,
            "replaced_at": key.replaced_at,
            "retired_at": key.retired_at,
            "changes_at": key.changes_at,
            "is_imported": key.is_imported,
            **({"withdrawn_at": key.withdrawn_at} if as_json else {}),
        }
        for key in flows.list_keys()
    ]
    show(rows, as_json=as_json, empty="No keys.")


@keys.command(
    "rotate", help="Let the next keys sign now; --emergency: new ones, and withdraw all that may be known."
)
@click.option("--emergency", is_flag=True, help="Somebody may have our keys: they stop counting at once.")
@ALGORITHM
@command
def rotate(emergency: bool, alg: str | None, as_json: bool) -> None:
    flows.ensure_keys()  # a key of the settings takes its turn even where no process has started with it yet
    if emergency:
        _replace(alg, as_json)
    else:
        _rotate(alg, as_json)
    wait_for_events(quiet=as_json)


def _rotate(alg: str | None, as_json: bool) -> None:
    rotation = flows.rotate(alg=alg)
    sentences = []
    for turn in rotation.turns:
        sentences.append(f"{turn.alg}: {turn.kid} signs from now on, instead of {turn.replaced}.")
        if turn.unknown_until:
            sentences.append(
                f"  It is new: until {_moment(turn.unknown_until)} a client may hold keys from before it."
                " Clients that fetch our keys again when they meet an unknown kid notice nothing; others refuse new"
                " tokens until then."
            )
    if rotation.turns:
        sentences.append(
            f"Tokens signed before stay good: the replaced keys verify until {_moment(rotation.retires_at)}."
        )
    for name, moment in rotation.waiting.items():
        sentences.append(
            f"{name}: the next key can sign from {_moment(moment)} on, when no client can hold keys from before it."
        )
    if not rotation.turns:
        raise click.ClickException(" ".join(["Nothing was rotated.", *sentences]))
    values = {
        "rotated": [_turn(turn) for turn in rotation.turns],
        "waiting": {name: moment.isoformat(timespec="seconds") for name, moment in rotation.waiting.items()},
        "verify_until": rotation.retires_at,
    }
    done("\n".join(sentences), values, as_json=as_json)


def _replace(alg: str | None, as_json: bool) -> None:
    made = flows.replace_suspects(alg=alg)
    until = _moment(made.cached_until)
    sentences = [
        f"{turn.alg}: {turn.kid} signs from now on, instead of {turn.replaced}." for turn in made.turns
    ]
    sentences += [
        f"Withdrawn, and gone from /.well-known/jwks.json: {', '.join(made.withdrawn) or 'none'}.",
        "Who notices what:",
        "- Access tokens that they signed are refused at userinfo, introspection and our own APIs within seconds."
        " Clients get new ones with their refresh tokens, which live on; people stay signed in.",
        f"- Until {until} clients may hold our keys from before. Those that fetch them again when they meet an"
        " unknown kid notice nothing; others refuse new ID tokens, so that sign-in fails there.",
        f"- Until {until}, too, clients that hold the withdrawn keys still believe what those sign: warn whoever"
        " runs one that cannot wait, so that it fetches our keys now.",
        "- ID tokens that they signed are no hints any more: signing out asks.",
    ]
    values = {
        "rotated": [_turn(turn) for turn in made.turns],
        "withdrawn": made.withdrawn,
        "cached_until": made.cached_until,
    }
    done("\n".join(sentences), values, as_json=as_json)


@keys.command(
    "retire",
    help="Withdraw one key at once: nothing that it signed is believed any more.",
    # One kid in sixty-four begins with a hyphen.
    context_settings={"ignore_unknown_options": True},
)
@click.argument("kid")
@command
def retire(kid: str, as_json: bool) -> None:
    try:
        gone = flows.retire(kid)
    except flows.UnknownKey as error:
        raise click.ClickException(f"{error.title}: keys list names them.") from None
    except flows.NotReady as error:
        raise click.ClickException(
            f"{error.detail} keys rotate --emergency does not wait for that."
        ) from None
    words = {
        "retired": f"{kid} was retired already; what it signed is not even a hint any more.",
        "next": f"{kid} is retired before its turn, and another key is next.",
    }
    sentence = words.get(
        gone.was,
        f"{kid} is retired: access tokens that it signed are refused at userinfo, introspection and our own APIs within"
        " seconds; refresh tokens and sessions live on.",
    )
    if gone.turn:
        sentence += f" {gone.turn.kid} signs {gone.alg} from now on."
    values = {"kid": kid, "alg": gone.alg, "was": gone.was, "state": "retired"}
    done(sentence, {**values, "signs_instead": gone.turn.kid if gone.turn else None}, as_json=as_json)
    wait_for_events(quiet=as_json)


def _turn(turn: flows.Turn) -> dict[str, object]:
    return {
        "alg": turn.alg,
        "kid": turn.kid,
        "replaced": turn.replaced,
        "unknown_until": turn.unknown_until.isoformat(timespec="seconds") if turn.unknown_until else None,
    }


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
