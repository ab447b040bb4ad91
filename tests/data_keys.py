"""A rotation of data keys as the apps of this process see it; afterwards all rows are as other tests know them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from libs.guard.keyring import KeyRing
from libs.guard.secrets import rotation
from libs.service import parts_of


@contextmanager
def rotating(app: Flask) -> Iterator[dict[str, KeyRing]]:
    """The rings before, between and after the rotation; whoever takes a step sets it as the app's data_keys."""
    parts = parts_of(app)
    old, new = parts.data_keys, {"new": os.urandom(32)}
    yield {"old": old, "both": KeyRing({**new, **old.keys}), "new": KeyRing(new)}
    parts.data_keys = KeyRing({**old.keys, **new})
    with app.app_context():
        rotation.run()
    parts.data_keys = old


def rows_by_kid(app: Flask) -> dict[str, int]:
    with app.app_context():
        return rotation.rows_by_kid(parts_of(app))
