"""Commands of onboarding, a file for each noun."""

from services.onboarding.cli.applications import applications

COMMANDS = (applications,)
