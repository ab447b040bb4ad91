"""Commands of account: people, their sessions, what they tried, what holds them up. One file for each noun."""

from services.account.cli.blocks import blocks_group
from services.account.cli.login_events import login_events, login_failures
from services.account.cli.ratelimits import ratelimits_group
from services.account.cli.roles import role_group
from services.account.cli.securing import reset_factors, secure, send_link
from services.account.cli.sessions import sessions_group
from services.account.cli.staff_rule import second_factor_for_staff
from services.account.cli.users import users_group

for below_users in (role_group, secure, send_link, reset_factors, second_factor_for_staff):
    users_group.add_command(below_users)

COMMANDS = (users_group, sessions_group, ratelimits_group, blocks_group, login_events, login_failures)
