"""The commands of onboarding, a file per noun."""

from services.onboarding.cli.applications import applications
from services.onboarding.cli.invitations import invitations
from services.onboarding.cli.policies import policies

COMMANDS = (applications, invitations, policies)
