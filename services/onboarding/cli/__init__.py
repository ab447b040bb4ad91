"""The commands of onboarding, a file per noun."""

from services.onboarding.cli.applications import applications
from services.onboarding.cli.invitations import invitations

COMMANDS = (applications, invitations)
