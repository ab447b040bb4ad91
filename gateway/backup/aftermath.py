"""In a process of its own: bring restored databases to this release, and end in them what must not live again."""

from datetime import datetime

from gateway.all_in_one import create_apps
from libs.audit import set_actor
from libs.database import upgrade
from libs.restoring import after_restore


def make_fit(made_at: str) -> None:
    """For the databases that the environment names; `made_at` is when their backup was begun (ISO 8601)."""
    for app in create_apps().values():
        upgrade(app)
        with app.app_context():
            set_actor("command:restore")
            after_restore(made_at=datetime.fromisoformat(made_at))
