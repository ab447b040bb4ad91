"""Celery tasks of oidc; gateway/schedule.py says when."""

from libs.guard.secrets import rotation
from services.oidc.extensions import tasks
from services.oidc.flows import keys
from services.oidc.flows.clearing import clear_old_rows
from services.oidc.protocol import backchannel_logout


@tasks.cleanup_that_notes
def clear_expired() -> None:
    """Forget codes, grants, tokens, refusals and deliveries that can serve nobody any more, in bounded batches."""
    clear_old_rows()


@tasks.task
def rotate_keys() -> None:
    """Take each step of the signing keys that is due."""
    keys.rotate_due()


@tasks.task
def send_logouts() -> None:
    """Tell clients that somebody signed out; queued by whatever ends a sign-in."""
    backchannel_logout.send_due()


@tasks.task
def sweep_logouts() -> None:
    """Every 5 s: what is due again, and what no task announced."""
    backchannel_logout.send_due()


@tasks.task
def reencrypt() -> None:
    """Every 15 min: seal under the first data key what an earlier one seals still, in bounded batches."""
    rotation.reencrypt_some()
