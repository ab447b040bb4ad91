"""Commands of oidc, a file for each noun."""

from services.oidc.cli import explain as _explain  # noqa: F401  a verb of clients
from services.oidc.cli.clients import clients
from services.oidc.cli.keys import keys
from services.oidc.cli.logouts import logouts
from services.oidc.cli.registration_tokens import registration_tokens
from services.oidc.cli.resources import resources
from services.oidc.cli.tokens import tokens

COMMANDS = (clients, keys, logouts, registration_tokens, resources, tokens)
