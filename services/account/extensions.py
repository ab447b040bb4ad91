"""The bare instances that account's parts meet in; create_app binds them."""

from libs.audit import Audit
from libs.database import Database
from libs.guard.ratelimit import RateLimiter
from libs.messaging.inbox import Inbox
from libs.messaging.outbox import Outbox
from libs.messaging.worker import Tasks
from libs.people.bearer.keys import IssuerKeys
from libs.service import Stores

db = Database()
audit = Audit(db)
outbox = Outbox(db, "account")
inbox = Inbox(db, "account")
tasks = Tasks("account")
issuer_keys = IssuerKeys(db)
limiter = RateLimiter()
stores = Stores(db=db, audit=audit, outbox=outbox, inbox=inbox, tasks=tasks, issuer_keys=issuer_keys)
