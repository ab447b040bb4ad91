"""The APIs of account: what its pages and commands do, for programs. Every view enters the same flows.

A new endpoint is a function in `me.py` or `users.py` under `@bp.get(…)`, `@bearer(…)`, `@bp.arguments(…)` and
`@bp.response(…)`, with its shapes in `services/account/schemas/` and its failures in `@bp.problems(…)`; then
`make openapi`.
"""

from services.account.routes.api import me, users

API = (me.bp, users.bp)
