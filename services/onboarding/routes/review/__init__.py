"""Pages for reviewers: the queue, an application and what is done about it, the mail they want."""

from flask import Blueprint

bp = Blueprint("review", __name__)

from services.onboarding.routes.review import application, queue, reviewers  # noqa: E402, F401  they fill the blueprint
