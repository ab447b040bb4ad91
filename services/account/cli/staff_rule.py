"""`users second-factor-for-staff`: the rule that staff need a second factor."""

import click

from libs.commands import command, done, wait_for_events
from services.account.flows.staff_rule import is_second_factor_required, require_second_factor_of_staff


@click.command(
    "second-factor-for-staff", help="Whether staff need a second factor: require, optional, or show."
)
@click.argument("rule", type=click.Choice(["require", "optional", "show"]))
@command
def second_factor_for_staff(rule: str, as_json: bool) -> None:
    if rule == "show":
        required = is_second_factor_required()
        word = "required" if required else "optional"
        done(f"A second factor is {word} for staff.", {"required": required}, as_json=as_json)
        return
    required = rule == "require"
    people = require_second_factor_of_staff(required=required)
    wait_for_events(quiet=as_json)
    word = "required" if required else "optional"
    sentence = f"A second factor is {word} for staff from now on; that changed {people} account(s)."
    done(sentence, {"required": required, "people": people}, as_json=as_json)
