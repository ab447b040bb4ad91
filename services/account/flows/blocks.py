"""Blocks: an address, a network or a mail domain may not sign in for a while. Open sessions stay as they are."""

import ipaddress
import uuid
from datetime import timedelta

import sqlalchemy as sa
from flask_babel import gettext, lazy_gettext

from libs.audit import current_actor
from libs.database import utcnow
from libs.web.client_address import parse_network
from libs.web.problems import Problem
from services.account.extensions import audit, db
from services.account.flows.factors import KeptOut, is_blocked
from services.account.flows.login_events import count_attempt, record_failure
from services.account.flows.users import find_user, normalise_email
from services.account.flows.visitor import Visitor
from services.account.models import Block

LONGEST = timedelta(days=365)
SHORTEST_PREFIX = {4: 8, 6: 19}
"""Anything wider is no block but a closed house; no registry has given anybody more than that."""
OUR_OWN = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip
"""Where our own proxies, pods and probes live."""
REASON_LENGTH = 500


class BadBlock(Problem):
    """What was given cannot be blocked; `errors` says which field."""

    status, slug, title = 422, "bad-block", lazy_gettext("This cannot be blocked")


class UnknownBlock(Problem):
    """There is no such block."""

    status, slug, title = 404, "unknown-block", lazy_gettext("There is no such block")


def add_block(
    *,
    network: str | None = None,
    domain: str | None = None,
    life: timedelta,
    reason: str,
    own_ip: str | None = None,
    own_email: str | None = None,
    even_our_own: bool = False,
) -> Block:
    """Let nobody in a network, or nobody with an address of a mail domain, sign in until `life` is over.

    It holds for whoever signs in from now on, and ends nobody's session. `own_ip` and `own_email` are those of the
    person who asks: they cannot keep themselves out. Networks of our own are refused unless `even_our_own`.
    Raises BadBlock.
    """
    errors: dict[str, str] = {}
    reason = " ".join(reason.split())[:REASON_LENGTH]
    if not reason:
        errors["reason"] = gettext("Say why: somebody will wonder.")
    if not timedelta(0) < life <= LONGEST:
        errors["life"] = gettext("A block lasts at most %(count)s days.", count=LONGEST.days)
    if (network is None) == (domain is None):
        errors["what"] = gettext("Name an address, a network or a mail domain.")
    elif network is not None:
        network, wrong = _checked_network(network, own_ip=own_ip, even_our_own=even_our_own)
        errors |= {"what": wrong} if wrong else {}
    elif domain is not None:
        domain, wrong = _checked_domain(domain, own_email=own_email)
        errors |= {"what": wrong} if wrong else {}
    if errors:
        raise BadBlock(errors=errors)
    now = utcnow()
    block = Block(
        network=network,
        domain=domain,
        reason=reason,
        created_by=current_actor(),
        created_at=now,
        expires_at=now + life,
    )
    with db.transaction() as session:
        session.add(block)
        session.flush()
        audit.record(
            "block.added",
            target=f"block:{block.id}",
            after={"network": network, "domain": domain, "expires_at": block.expires_at},
            reason=reason,
        )
    return block


def _checked_network(text: str, *, own_ip: str | None, even_our_own: bool) -> tuple[str, str | None]:
    """The network in one form, and what is wrong with it."""
    written = parse_network(text)
    if written is None:
        return text, gettext("This is no address and no network: write 203.0.113.9 or 203.0.113.0/24.")
    network = ipaddress.ip_network(written)
    if network.prefixlen < SHORTEST_PREFIX[network.version]:
        return written, gettext("This would keep out half the world: name a smaller network.")
    if own_ip is not None and _holds(network, own_ip):
        return written, gettext("Your own address is in it: you would keep yourself out.")
    if not even_our_own and any(
        network.version == ours.version and network.overlaps(ours) for ours in OUR_OWN
    ):
        return written, gettext("This is a network of our own kind, where our own machines may be.")
    return written, None


def _holds(network: ipaddress.IPv4Network | ipaddress.IPv6Network, ip: str) -> bool:
    return ipaddress.ip_address(ip) in network


def _checked_domain(text: str, *, own_email: str | None) -> tuple[str, str | None]:
    """The mail domain as addresses are compared, and what is wrong with it."""
    domain = normalise_email(f"any@{text.strip().removeprefix('@').rstrip('.')}").partition("@")[2]
    if "." not in domain or any(not sign.isalnum() and sign not in ".-" for sign in domain) or ".." in domain:
        return domain, gettext("This is no mail domain: write example.org.")
    if own_email is not None and normalise_email(own_email).rpartition("@")[2] == domain:
        return domain, gettext("Your own address is in it: you would keep yourself out.")
    return domain, None


def list_blocks(*, limit: int = 200) -> list[Block]:
    """The blocks that hold now, the newest first."""
    with db.single_statements() as session:
        return list(
            session.scalars(
                sa.select(Block)
                .where(Block.lifted_at.is_(None), Block.expires_at > utcnow())
                .order_by(Block.id.desc())
                .limit(limit)
                .execution_options(populate_existing=True)
            )
        )


def lift_block(*, block_id: uuid.UUID) -> bool:
    """Let them sign in again. False when the block had ended already. Raises UnknownBlock."""
    with db.transaction() as session:
        now = utcnow()
        lifted = session.execute(
            sa.update(Block)
            .where(Block.id == block_id, Block.lifted_at.is_(None), Block.expires_at > now)
            .values(lifted_at=now)
            .returning(Block.network, Block.domain)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if lifted is not None:
            audit.record(
                "block.lifted",
                target=f"block:{block_id}",
                before={"network": lifted.network, "domain": lifted.domain},
            )
            return True
        if session.scalar(sa.select(Block.id).where(Block.id == block_id)) is None:
            raise UnknownBlock(gettext("No block has the id %(id)s.", id=str(block_id)))
    return False


def refuse_blocked(*, visitor: Visitor, email: str, method: str) -> None:
    """For doors that open an account, or set a password, before they sign in: a block holds there, too.

    Raises KeptOut.
    """
    domain = normalise_email(email).rpartition("@")[2]
    with db.single_statements() as session:
        if not session.scalar(sa.select(is_blocked(visitor.ip, sa.literal(domain)))):
            return
    user = find_user(email=email)
    count_attempt()
    record_failure(
        "throttled", method=method, visitor=visitor, user_id=user.id if user else None, typed=email
    )
    raise KeptOut(gettext("If you think that is a mistake, write to us."))
