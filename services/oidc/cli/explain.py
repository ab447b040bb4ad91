"""clients explain: why a request was refused, by the number that its answer carried."""

from typing import Any

import click

from libs.commands import command, show
from services.oidc.cli.clients import clients
from services.oidc.flows import refusals
from services.oidc.flows.refusals.advice import advice_for, difference_in
from services.oidc.models import Refusal


@clients.command("explain", help="Why a request was refused: what the client was told, and the exact reason.")
@click.argument("request_id")
@command
def explain(request_id: str, as_json: bool) -> None:
    found = refusals.explain(request_id)
    if not found:
        raise click.ClickException(
            "Nothing is on record under this id: it is mistyped, older than REFUSALS_KEPT, or nothing was refused; "
            "the logs of that moment may tell more."
        )
    if as_json:
        show([_values(refusal) for refusal in found], as_json=True)
        return
    click.echo("\n\n".join("\n".join(_lines(refusal)) for refusal in found))


def _values(refusal: Refusal) -> dict[str, Any]:
    advice = advice_for(refusal)
    return {
        "request_id": refusal.request_id,
        "created_at": refusal.created_at,
        "endpoint": refusal.endpoint,
        "client_id": refusal.client_id,
        "error": refusal.error,
        "description": refusal.description,
        "detail": refusal.detail,
        "advice": str(advice) if advice is not None else None,
    }


def _lines(refusal: Refusal) -> list[str]:
    values = _values(refusal)
    lines = [
        f"{values['created_at']:%Y-%m-%d %H:%M:%S} UTC, {refusal.endpoint}",
        f"client: {refusal.client_id or 'unknown'}",
        f"it was told: {refusal.error}" + (f" ({refusal.description})" if refusal.description else ""),
    ]
    if refusal.detail:
        lines.append(f"the reason: {refusal.detail}")
    if difference := difference_in(refusal):
        lines += [
            f"  sent        {difference.sent}",
            f"  registered  {difference.registered}",
            f"              {difference.caret}",
        ]
    if values["advice"]:
        lines.append(f"what to do: {values['advice']}")
    return lines
