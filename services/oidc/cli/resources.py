"""resources: the APIs of others that our access tokens are for."""

from typing import Any

import click
from flask.cli import AppGroup

from libs.commands import command, done, show, show_one
from services.oidc.flows.resources import changing as flows
from services.oidc.models import Resource

resources = AppGroup("resources", help="APIs of others that our access tokens are for (RFC 8707).")


class ScopeType(click.ParamType):
    """A scope and what it means to people: `orders:read=see your orders`."""

    name = "scope=words"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        scope, sign, words = str(value).partition("=")
        if not sign:
            self.fail(f"{value} lacks its words: write SCOPE=WORDS.", param, ctx)
        return scope, words


SCOPE = ScopeType()


@resources.command("list", help="Every registered resource by name.")
@command
def list_resources(as_json: bool) -> None:
    show([_values(resource) for resource in flows.list_resources()], as_json=as_json, empty="No resources.")


@resources.command("show", help="A resource by its identifier.")
@click.argument("identifier")
@command
def show_resource(identifier: str, as_json: bool) -> None:
    show_one(_values(flows.resource_called(identifier)), as_json=as_json)


@resources.command("create", help="Register an API: its identifier stays, the rest can be changed.")
@click.argument("identifier")
@click.option("--name", required=True)
@click.option(
    "--scope", "scopes", type=SCOPE, multiple=True, required=True, help="SCOPE=WORDS, for each of them."
)
@click.option("--client-id", help="The client as which it introspects tokens.")
@command
def create(
    identifier: str, name: str, scopes: tuple[tuple[str, str], ...], client_id: str | None, as_json: bool
) -> None:
    made = flows.create_resource(identifier=identifier, name=name, scopes=dict(scopes), client_id=client_id)
    done(f"Resource {made.identifier} is registered.", _values(made), as_json=as_json)


@resources.command("update", help="Change what is named; scopes are replaced whole.")
@click.argument("identifier")
@click.option("--name")
@click.option("--scope", "scopes", type=SCOPE, multiple=True, help="SCOPE=WORDS, for each of them.")
@click.option("--client-id", help="The client as which it introspects tokens; empty: none.")
@command
def update(
    identifier: str,
    name: str | None,
    scopes: tuple[tuple[str, str], ...],
    client_id: str | None,
    as_json: bool,
) -> None:
    chosen: dict[str, Any] = {"name": name, "scopes": dict(scopes) or None, "client_id": client_id}
    changes = {field: value for field, value in chosen.items() if value is not None}
    changed = flows.update_resource(flows.resource_called(identifier).id, **changes)
    done(f"Resource {identifier} is updated.", _values(changed), as_json=as_json)


@resources.command("delete", help="Forget a resource whose scopes no client may ask for.")
@click.argument("identifier")
@command
def delete(identifier: str, as_json: bool) -> None:
    flows.delete_resource(flows.resource_called(identifier).id)
    done(f"Resource {identifier} is deleted.", {"identifier": identifier, "deleted": True}, as_json=as_json)


def _values(resource: Resource) -> dict[str, Any]:
    return {"id": resource.id, **flows.resource_values(resource), "updated_at": resource.updated_at}
