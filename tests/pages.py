"""A browser without a screen: follows links and fills forms as a person without script would."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import requests
from werkzeug.test import Client, TestResponse

ORIGIN = "http://localhost:8000"


class Form:
    """A form as it stands in the page."""

    def __init__(self, action: str, method: str, form_id: str | None):
        self.action, self.method, self.id = action, method, form_id
        self.fields: list[tuple[str, str]] = []
        self.buttons: list[dict[str, str]] = []


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._textarea: str | None = None
        self._select: str | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(values.get("action", ""), values.get("method", "get").lower(), values.get("id"))
            self.forms.append(self._form)
        if self._form is None:
            return
        if tag == "input" and values.get("name"):
            if values.get("type") in ("checkbox", "radio") and "checked" not in values:
                return
            self._form.fields.append((values["name"], values.get("value", "")))
        elif tag == "textarea":
            self._textarea, self._text = values.get("name", ""), ""
        elif tag == "select":
            self._select = values.get("name", "")
        elif tag == "option" and self._select and "selected" in values:
            self._form.fields.append((self._select, values.get("value", "")))
        elif tag == "button":
            self._form.buttons.append(values)

    def handle_data(self, data: str) -> None:
        if self._textarea is not None:
            self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._textarea and self._form:
            self._form.fields.append((self._textarea, self._text))
            self._textarea = None
        elif tag == "select":
            self._select = None
        elif tag == "form":
            self._form = None


def forms_of(html: str) -> list[Form]:
    parser = _Forms()
    parser.feed(html)
    return parser.forms


class Browser:
    """Cookies, links and forms on a WSGI app; redirects are followed only when told (`follow=True`)."""

    origin = ORIGIN

    def __init__(self, app: Any, *, ip: str = "127.0.0.1"):
        self.client = Client(app, TestResponse)
        self.ip = ip
        self.page: Any = None
        self.url = ORIGIN + "/"

    @property
    def text(self) -> str:
        assert self.page is not None
        return self.page.text

    @property
    def status(self) -> int:
        assert self.page is not None
        return self.page.status_code

    @property
    def location(self) -> str:
        assert self.page is not None
        return self.page.headers.get("Location", "")

    def open(self, path: str, *, method: str = "GET", follow: bool = False, **options: Any) -> TestResponse:
        """Send one request; with `follow`, go on as long as the answer is a redirect to our origin."""
        url = urljoin(self.url, path)
        options.setdefault("headers", {})
        options["headers"].setdefault("Accept", "text/html")
        if method == "POST":  # as every browser does
            options["headers"].setdefault("Origin", self.origin)
        self.page = self.client.open(
            urlsplit(url)._replace(scheme="", netloc="", fragment="").geturl() or "/",
            base_url=ORIGIN,
            method=method,
            environ_overrides={"REMOTE_ADDR": self.ip},
            **options,
        )
        self.url = url
        while follow and self.page.status_code in (301, 302, 303, 307) and self._is_ours(self.location):
            self.open(self.location, headers={"Accept": "text/html"})
        return self.page

    def get(self, path: str, *, follow: bool = False, **options: Any) -> TestResponse:
        return self.open(path, follow=follow, **options)

    def post(self, path: str, data: Any = None, *, follow: bool = False, **options: Any) -> TestResponse:
        return self.open(path, method="POST", data=data, follow=follow, **options)

    def fill(
        self, path: str | None = None, *, button: str | None = None, follow: bool = False, **fields: Any
    ) -> TestResponse:
        """Open the page (or use the one open), enter the fields, press the button (by id, name or value)."""
        if path is not None:
            self.get(path, follow=True)
        form, pressed = self.find_form(button, fields)
        data = [(name, value) for name, value in form.fields if name not in fields]
        for name, value in fields.items():
            data += [(name, item) for item in (value if isinstance(value, list) else [value])]
        if pressed.get("name"):
            data.append((pressed["name"], pressed.get("value", "")))
        target = urljoin(self.url, form.action) if form.action else self.url
        if form.method == "get":
            return self.get(target, query_string=data, follow=follow)
        merged: dict[str, list[str]] = {}
        for name, value in data:
            merged.setdefault(name, []).append(value)
        return self.post(target, data=merged, headers={"Origin": self.origin}, follow=follow)

    def find_form(self, button: str | None, fields: dict[str, Any]) -> tuple[Form, dict[str, str]]:
        """The form that has this button, else the first POST form with all these fields."""
        forms = forms_of(self.text)
        for form in forms:
            for found in form.buttons:
                if button and button in (found.get("id"), found.get("name"), found.get("value")):
                    return form, found
        assert button is None, f"no button {button!r} at {self.url} ({self.status}): {self.text[:2000]}"
        for form in forms:
            names = {name for name, _ in form.fields}
            if form.method == "post" and set(fields) <= names:
                return form, {}
        raise AssertionError(
            f"no form with {sorted(fields)} at {self.url} ({self.status}): {self.text[:2000]}"
        )

    def cookie(self, name: str) -> str | None:
        found = self.client.get_cookie(name, domain="localhost")
        return found.value if found else None

    def set_cookie(self, name: str, value: str) -> None:
        self.client.set_cookie(name, value, domain="localhost")

    def query(self) -> dict[str, str]:
        """The query of the redirect just answered."""
        return dict(parse_qsl(urlsplit(self.location).query))

    def _is_ours(self, location: str) -> bool:
        target = urlsplit(urljoin(self.url, location))
        return f"{target.scheme}://{target.netloc}" == self.origin


def token_of(browser: Browser) -> str:
    """The CSRF token of the page that is open."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.text)
    assert found, browser.text
    return found[1]


class HTTPBrowser(Browser):
    """The same over real HTTP, for suites that run in processes of their own."""

    def __init__(self, origin: str, *, verify: bool | str = True):
        self.origin = origin
        self.http = requests.Session()
        self.http.verify = verify
        self.http.headers["Accept"] = "text/html"
        self.page = None
        self.url = origin + "/"

    def open(self, path: str, *, method: str = "GET", follow: bool = False, **options: Any) -> Any:
        url = urljoin(self.url, path)
        if "query_string" in options:
            options["params"] = options.pop("query_string")
        if method == "POST":
            options["headers"] = {"Origin": self.origin, **options.get("headers", {})}
        self.page = self.http.request(method, url, allow_redirects=False, timeout=30, **options)
        self.url = url
        while follow and self.page.status_code in (301, 302, 303, 307) and self._is_ours(self.location):
            self.open(self.location)
        return self.page

    def cookie(self, name: str) -> str | None:
        return self.http.cookies.get(name)

    def set_cookie(self, name: str, value: str) -> None:
        self.http.cookies.set(name, value)
