"""policies: who gets in how, tried with an address, and changed."""

from typing import Any

import click
from flask.cli import AppGroup

from libs.commands import command, done, show
from libs.web.client_address import parse_address
from services.onboarding.cli.addresses import checked_address
from services.onboarding.flows import policies as flow
from services.onboarding.models import MODES

policies = AppGroup("policies", help="Who gets in how: rules in order, what they make of an address.")


@policies.command("list", help="The rules in the order in which they are asked, as they are set now.")
@command
def list_rules(as_json: bool) -> None:
    rows = [
        {"order": number, "rule": rule.name, "setting": setting, "what it does": str(rule.words)}
        for number, (rule, setting) in enumerate(flow.settings_of_rules(), 1)
    ]
    show(rows, as_json=as_json)


@policies.command("test", help="What becomes of an application of this address, and which rule says so.")
@click.argument("email")
@click.option("--ip", help="As if it came from there: networks are counted, too.")
@click.option("--invited", is_flag=True, help="As if it came by an invitation.")
@command
def test_address(email: str, ip: str | None, invited: bool, as_json: bool) -> None:
    email = checked_address(email)
    address = parse_address(ip) if ip else None
    if ip and address is None:
        raise LookupError(f"{ip} is not an IP address.")
    network = flow.network_of(address) if address else None
    findings = flow.explain(email=email, network=network, is_invited=invited)
    decided = next(finding for finding in findings if finding.decides)
    assert decided.verdict is not None
    if as_json:
        how = {"quietly": decided.verdict.is_quiet, "words": str(decided.verdict.words)}
        result = {"email": email, "outcome": decided.verdict.outcome, "rule": decided.rule.name, **how}
        done("", result, as_json=True)
        return
    show([_row(finding) for finding in _up_to_decision(findings)], as_json=False)
    quietly = " quietly" if decided.verdict.is_quiet else ""
    why = f": {decided.verdict.words}" if decided.verdict.words else "."
    click.echo(f"{email} is {_SAYS[decided.verdict.outcome]}{quietly} by the rule {decided.rule.name}{why}")


_SAYS = {flow.APPROVED: "approved once it is confirmed", flow.REVIEW: "reviewed", flow.REFUSED: "refused"}


def _up_to_decision(findings: list[flow.Finding]) -> list[flow.Finding]:
    end = next(number for number, finding in enumerate(findings, 1) if finding.decides)
    return findings[:end]


def _row(finding: flow.Finding) -> dict[str, Any]:
    says = finding.verdict.outcome if finding.verdict else "passes"
    return {"rule": finding.rule.name, "setting": finding.setting, "says": says}


@policies.command("set", help="Change what is named, and nothing else.")
@click.option("--mode", type=click.Choice(MODES))
@click.option("--trust", multiple=True, metavar="DOMAIN", help="Addresses there need no review.")
@click.option("--distrust", multiple=True, metavar="DOMAIN", help="They need one again.")
@click.option("--refuse", multiple=True, metavar="DOMAIN", help="Addresses there and below are refused.")
@click.option("--accept", multiple=True, metavar="DOMAIN", help="They are refused no more.")
@click.option("--most-per-address", type=int, help="Applications of one address in 30 days.")
@click.option("--most-per-network", type=int, help="Applications from one network in a day.")
@command
def set_policy(as_json: bool, **changes: Any) -> None:
    policy = flow.change(**changes)
    values = {
        "version": policy.version,
        "mode": policy.mode,
        "trusted_domains": policy.trusted_domains,
        "refused_domains": policy.refused_domains,
        "most_per_address": policy.most_per_address,
        "most_per_network": policy.most_per_network,
    }
    done(f"The policy is set: version {policy.version}, mode {policy.mode}.", values, as_json=as_json)
