"""`users role`: roles are given and taken away."""

import click
from flask.cli import AppGroup

from libs.commands import command, done, wait_for_events
from services.account.flows import users
from services.account.models import ROLES, User

role_group = AppGroup("role", help="Give roles and take them away.")


@role_group.command("add", help="Give a role: admin, reviewer or support.")
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
@command
def add_role(email: str, role: str, as_json: bool) -> None:
    user = users.get_user(email=email)
    changed = users.add_role(sub=user.sub, role=role)
    wait_for_events(quiet=as_json)
    sentence = f"{user.email} is {role} now." if changed else f"{user.email} was {role} before."
    _say_roles(user, sentence, changed, as_json)


@role_group.command("remove", help="Take a role away; access tokens that carry it die.")
@click.argument("email")
@click.argument("role", type=click.Choice(ROLES))
@command
def remove_role(email: str, role: str, as_json: bool) -> None:
    user = users.get_user(email=email)
    changed = users.remove_role(sub=user.sub, role=role)
    wait_for_events(quiet=as_json)
    sentence = f"{user.email} is not {role} any more." if changed else f"{user.email} was not {role}."
    _say_roles(user, sentence, changed, as_json)


def _say_roles(user: User, sentence: str, changed: bool, as_json: bool) -> None:
    roles = users.get_user(sub=user.sub).roles
    done(sentence, {"sub": user.sub, "roles": roles, "changed": changed}, as_json=as_json)
