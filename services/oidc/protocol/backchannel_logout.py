"""Back-channel logout (OpenID Connect Back-Channel Logout 1.0): logout tokens made, and posted to clients.

One thread of a worker does it, however many tasks ask, so that slow clients never take the worker from everything
else; it has SENDS_AT_ONCE posts under way, to a client each.
"""

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any

import requests
from flask import current_app

from libs.guard.outbound import AnswerTooLarge, OutboundRefused, guarded
from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.settings import Settings
from libs.web.problems import Unavailable
from services.oidc.flows import logouts
from services.oidc.flows.clients.registered import RegisteredClient, find_client
from services.oidc.flows.logouts import Delivery, Outcome
from services.oidc.protocol.tokens import sign

log = get_logger("OIDC.logout")

LOGOUT_TOKEN_TYPE = "logout+jwt"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
TOKEN_LIFETIME = timedelta(minutes=2)
"""As §2.4 advises; each attempt brings a fresh one."""
SENDS_AT_ONCE = 8
ANSWER_TIMEOUT_S = 5.0
"""For all of it: name, connection, TLS, answer."""
MAX_ANSWER_BYTES = 16 * 1024
LONGEST_RUN_S = 20.0
"""Then a run takes nothing new; with what is under way it stays far below LONGEST_TASK_S."""
LONGEST_WISHED_WAIT = timedelta(hours=1)
NUDGE_INTERVAL_S = 0.2
"""How soon a run whose posts are all slow sees that there is something new."""
_ERROR_CODE = re.compile(r"[a-z_]{1,60}\Z")

_run_lock = threading.Lock()
_is_wanted = threading.Event()


def make_logout_token(delivery: Delivery, client: RegisteredClient, *, issuer: str) -> str:
    """A logout token (§2.4): the delivery's id is its `jti` at every attempt, and there is never a nonce."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": client.client_id,
        "iat": now,
        "exp": now + int(TOKEN_LIFETIME.total_seconds()),
        "jti": str(delivery.id),
        "events": {LOGOUT_EVENT: {}},
        "sub": delivery.sub,
    }
    if delivery.sid is not None:
        claims["sid"] = delivery.sid
    return sign(claims, alg=client.id_token_signed_response_alg, token_type=LOGOUT_TOKEN_TYPE)


def send_due() -> int:
    """Send what is due, unless a thread of this process does already: it then sees what is new. Returns how many."""
    deadline = time.monotonic() + LONGEST_RUN_S
    sent = 0
    _is_wanted.set()
    # Looked at again once the lock is free: whoever came in between relied on this thread.
    while _is_wanted.is_set() and time.monotonic() < deadline and _run_lock.acquire(blocking=False):
        try:
            sent += _run(deadline)
        finally:
            _run_lock.release()
    return sent


def _run(deadline: float) -> int:
    """Keep SENDS_AT_ONCE posts under way until nothing is due, or the time is over."""
    finished: SimpleQueue[tuple[Delivery, Outcome]] = SimpleQueue()
    running = sent = 0
    with ThreadPoolExecutor(SENDS_AT_ONCE, thread_name_prefix="logout") as pool:
        is_looking = True
        while True:
            if is_looking and running < SENDS_AT_ONCE and time.monotonic() < deadline:
                _is_wanted.clear()
                for delivery in logouts.claim(SENDS_AT_ONCE - running):
                    _begin(delivery, pool, finished)
                    running += 1
            if not running:
                return sent
            try:
                delivery, outcome = finished.get(timeout=NUDGE_INTERVAL_S)
            except Empty:
                is_looking = _is_wanted.is_set()
                continue
            running -= 1
            sent += 1
            logouts.settle(delivery, outcome)
            parts_of(current_app).metrics.logouts_sent.labels(result=outcome.result).inc()
            is_looking = True


def _begin(
    delivery: Delivery, pool: ThreadPoolExecutor, finished: "SimpleQueue[tuple[Delivery, Outcome]]"
) -> None:
    """Make the token here, where the database is; post it in a thread that knows HTTP alone."""
    settings = parts_of(current_app).settings
    client = find_client(delivery.client_id)
    if client is None or client.backchannel_logout_uri is None:
        finished.put((delivery, logouts.dropped("the client is disabled or has no address for it")))
        return
    try:
        token = make_logout_token(delivery, client, issuer=settings.PUBLIC_URL)
    except (KeyError, Unavailable):
        finished.put((delivery, logouts.failed("no key of its algorithm")))
        return
    uri = client.backchannel_logout_uri

    def work() -> None:
        finished.put((delivery, _guarded_from_faults(lambda: post(uri, token, settings=settings))))

    pool.submit(work)


def _guarded_from_faults(send: Callable[[], Outcome]) -> Outcome:
    try:
        return send()
    except Exception as error:
        # One delivery that trips a fault of ours waits like any other, and the rest goes on.
        log.error("logout_broke", exc_info=error)
        return logouts.failed(f"a fault of ours: {type(error).__name__}")


def post(uri: str, token: str, *, settings: Settings) -> Outcome:
    """Post a logout token (§2.5), and read the answer (§2.8)."""
    try:
        with guarded(
            requests.Session(), settings, seconds=ANSWER_TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES
        ) as http:
            http.headers["User-Agent"] = "UpdSpace-ID"
            return judge(http.post(uri, data={"logout_token": token}))
    except OutboundRefused as error:
        return logouts.refused(f"we do not go there: {error}")
    except AnswerTooLarge as error:
        return logouts.refused("answer too large") if error.response is None else judge(error.response)
    except requests.TooManyRedirects:
        return logouts.refused("redirect")
    except requests.exceptions.SSLError:
        return logouts.unanswered("its certificate is not accepted")
    except requests.Timeout:
        return logouts.unanswered("no answer in time")
    except requests.ConnectionError:
        return logouts.unanswered("not reached")
    except requests.RequestException as error:
        return logouts.refused(type(error).__name__)


def judge(answer: requests.Response) -> Outcome:
    """What an answer means: done, no, or not now. Of its content staff see the error code alone."""
    status = answer.status_code
    if 200 <= status < 300:
        return logouts.delivered()
    if status >= 500 or status == 429:
        return logouts.unanswered(f"status {status}", wait=_wished_wait(answer.headers.get("Retry-After")))
    return logouts.refused(f"status {status} {_error_code(answer)}".rstrip())


def _error_code(answer: requests.Response) -> str:
    try:
        code = answer.json().get("error")
    except (ValueError, AttributeError, RecursionError, requests.RequestException):
        return ""
    return code if isinstance(code, str) and _ERROR_CODE.match(code) else ""


def _wished_wait(header: str | None) -> timedelta | None:
    text = (header or "").strip()
    if not (text.isascii() and text.isdecimal()):
        return None
    return min(timedelta(seconds=max(int(text[:6]), 1)), LONGEST_WISHED_WAIT)
