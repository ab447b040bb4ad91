"""The APIs of account: what its pages and commands do, for programs. Every view enters the same flows.

A new endpoint is a function in the module of its thing under `@bp.get(…)`, `@bearer(…)`, `@bp.arguments(…)` and
`@bp.response(…)`, with its shapes in `services/account/schemas/` and its failures in `@bp.problems(…)`; then
`make openapi`. `callers.py` says who asks, and on whom they may act.
"""

from services.account.routes.api import (
    blocks,
    leaving,
    login_events,
    me,
    securing,
    staff_rule,
    users,
    ways_in,
)

API = (me.bp, ways_in.bp, leaving.bp, users.bp, securing.bp, login_events.bp, blocks.bp, staff_rule.bp)
