"""The sample service in a process of its own, traced: things go wrong in it, and each quotes a secret.

`python -m tests.libs.traced`; the settings come from the environment, and test_tracing.py looks at what arrived.
"""

import contextlib

import sqlalchemy as sa

from libs.people.access import public
from libs.prepared import Prepared
from libs.service import parts_of
from tests.libs import sample
from tests.pages import Browser

SECRET = "hunter2-of-the-traces"
NUMBER = "ab" * 16


def main() -> None:
    app = sample.create_app(sample.SampleSettings.load())
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/trouble")
    @public
    def trouble() -> str:
        session, store = sample.db.session, parts_of(app).redis
        with contextlib.suppress(sa.exc.IntegrityError):
            # PostgreSQL quotes the row that it refuses.
            session.execute(sa.insert(sample.Note).values(id=None, text=SECRET))
        session.rollback()
        wanted = sa.select(sample.Note.id).where(sample.Note.text == sa.bindparam("wanted"))
        Prepared(wanted).rows(sample.db.engine, {"wanted": SECRET})
        sample.tasks.send("remember", SECRET)
        store.set(f"a-key:{SECRET}", SECRET, ex=60)
        store.pipeline().get(SECRET).execute()
        raise RuntimeError(SECRET)

    browser = Browser(app)
    named = {"X-Request-ID": NUMBER, "User-Agent": SECRET, "Authorization": f"Bearer {SECRET}"}
    for path in ("/trouble", f"/nowhere/{SECRET}", "/healthz", "/metrics"):
        browser.get(f"{path}?token={SECRET}", headers=named)
    browser.post("/machine", {"password": SECRET}, headers=named)
    with app.app_context():
        # By itself, as a thread does.
        sample.db.session.execute(sa.text("SELECT 'by itself'"))


if __name__ == "__main__":
    main()
