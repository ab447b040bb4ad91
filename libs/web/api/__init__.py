"""APIs: JSON below /api/v1 for bearers of access tokens, described as OpenAPI 3.1 by the very shapes that check it.

A view is a function under `@bp.get(…)`, `@bearer(…)`, `@bp.arguments(…)`, `@bp.response(…)`; its docstring is its
manual. What every operation has in common (limits, errors, headers, security) is added here.
"""

from libs.web.api.blueprint import APIBlueprint, header
from libs.web.api.document import init_api, openapi_document
from libs.web.api.pages import page, page_query, part
from libs.web.api.shapes import Input, Shape, said
from libs.web.api.states import expected_versions, tagged

__all__ = [
    "APIBlueprint",
    "Input",
    "Shape",
    "expected_versions",
    "header",
    "init_api",
    "openapi_document",
    "page",
    "page_query",
    "part",
    "said",
    "tagged",
]
