"""What every door shows for a mailed link that no longer works."""

from flask import render_template, request
from flask.typing import ResponseReturnValue

from services.onboarding.flows.links import LinkEnded


def show_ended(error: LinkEnded) -> ResponseReturnValue:
    """Say why, and offer a fresh mail: in one click where the link is known, by address where it is not."""
    return render_template(
        "links/ended.html",
        why=error.why,
        token=request.args.get("token", "") if error.link else None,
    ), error.status
