"""Door 2: commands for the engineer on call, a file for each noun."""

from services.notification.cli.messages import messages_group
from services.notification.cli.suppressions import suppressions_group
from services.notification.cli.templates import templates_group

COMMANDS = (messages_group, templates_group, suppressions_group)
