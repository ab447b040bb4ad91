"""What every door shows for a mailed link that no longer works."""

from flask import render_template, request
from flask.typing import ResponseReturnValue

from services.onboarding.flows import states
from services.onboarding.flows.links import LinkEnded


def show_ended(error: LinkEnded) -> ResponseReturnValue:
    """Say why, and what helps: a fresh mail, in one click where the link is known, or word of how things ended."""
    link = error.link
    return render_template(
        "links/ended.html",
        why=error.why,
        token=request.args.get("token", "") if link else None,
        application=states.get(link.application_id) if link else None,
    ), error.status
