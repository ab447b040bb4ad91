"""Stand-ins that say who was asked, and for what: owners of the route table behind a front door under test."""

import json
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from gateway import routes

WSGIApp = Callable[..., Iterable[bytes]]


def echo(owner: str) -> WSGIApp:
    """Answers 200 with the request as the owner of a path sees it."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        seen = {
            "owner": owner,
            "address": environ["REMOTE_ADDR"],
            "port": environ.get("REMOTE_PORT"),
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],
            "query": environ["QUERY_STRING"],
            "body_bytes": len(body),
            "headers": {
                name[5:].replace("_", "-").lower(): value
                for name, value in environ.items()
                if name.startswith("HTTP_")
            },
        }
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        text = json.dumps(seen).encode()
        start_response(
            "200 OK",
            [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(text))),
                ("X-Request-ID", request_id),
            ],
        )
        return [text]

    return app


def slow() -> WSGIApp:
    """For gunicorn: answers at once, but `/slow` after a second."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            time.sleep(1)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    return app


def upstream() -> WSGIApp:
    """For gunicorn: the one owner that ECHO_OWNER names, behind nginx."""
    return echo(os.environ["ECHO_OWNER"])


def door() -> WSGIApp:
    """For gunicorn: the all-in-one's front door before echoes of all owners."""
    from gateway.front_door import FrontDoor
    from gateway.settings import GatewaySettings

    return FrontDoor({owner: echo(owner) for owner in routes.UPSTREAM_PORTS}, GatewaySettings.load())
