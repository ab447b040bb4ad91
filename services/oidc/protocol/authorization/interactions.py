"""Interactions: an accepted authorization request waiting for the person, in Redis for half an hour."""

import dataclasses
import hashlib
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Self

import redis

from services.oidc.protocol.authorization.checks import AuthorizationRequest
from services.oidc.scopes import SCOPE_OF_CLAIM
from services.oidc.settings import OIDCSettings


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """What is left to do for a request; times are epoch seconds."""

    client_id: str
    redirect_uri: str
    is_redirect_uri_sent: bool
    """Whether the client named it, and must name it again at the token endpoint."""
    response_mode: str = "query"
    scopes: list[str]
    resources: list[str] = field(default_factory=list)
    claims_request: dict[str, list[str]] | None = None
    state: str | None = field(repr=False)
    nonce: str | None = field(repr=False)
    code_challenge: str | None
    prompts: list[str]
    max_age: int | None
    acr_values: list[str] = field(default_factory=list)
    is_acr_essential: bool = False
    named_subs: list[str] | None = None
    login_hint: str | None = field(repr=False)
    ui_locales: str | None
    created_at: int
    fresh_after: int | None = None
    """Set when the person was sent to sign in: what the new sign-in must be at least as young as."""
    chosen_sid: str | None = None
    """The session that the person chose on account's page, where the request wanted them to."""
    is_acr_asked: bool = False
    """Whether the person was sent to sign in more strongly: once, whatever comes of it."""
    is_apply_shown: bool = False
    """Whether the person was sent to apply, which `prompt=create` asks for."""

    @classmethod
    def of(cls, request: AuthorizationRequest) -> Self:
        return cls(
            client_id=request.client.client_id,
            redirect_uri=request.redirect_uri,
            is_redirect_uri_sent=request.get("redirect_uri") is not None,
            response_mode=request.response_mode,
            scopes=request.scopes,
            resources=request.resources,
            claims_request=request.claims_request,
            state=request.state,
            nonce=request.get("nonce"),
            code_challenge=request.get("code_challenge"),
            prompts=request.prompts,
            max_age=request.max_age,
            acr_values=request.acr_values,
            is_acr_essential=request.is_acr_essential,
            named_subs=request.named_subs,
            login_hint=request.get("login_hint"),
            ui_locales=request.ui_locales,
            created_at=int(time.time()),
        )

    @property
    def consent_scopes(self) -> list[str]:
        """What the person is asked to allow: the scopes, and those that open the claims asked for by name."""
        opened = (SCOPE_OF_CLAIM[name] for names in (self.claims_request or {}).values() for name in names)
        return list(dict.fromkeys([*self.scopes, *opened]))

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})


class Interactions:
    """Where interactions are kept. Every method raises redis.RedisError when Redis is away or full."""

    def __init__(self, client: redis.Redis, settings: OIDCSettings):
        self.client = client
        self.lifetime = int(settings.INTERACTION_LIFETIME.total_seconds())

    def open(self, interaction: Interaction) -> str:
        """Keep it. Returns its id, which also says which client it leads back to when it is gone."""
        interaction_id = f"{secrets.token_urlsafe(32)}.{interaction.client_id}"
        self.client.set(_key(interaction_id), interaction.to_json(), ex=self.lifetime)
        return interaction_id

    def find(self, interaction_id: str) -> Interaction | None:
        text = self.client.get(_key(interaction_id))
        return Interaction.from_json(text) if text else None  # type: ignore[arg-type]

    def change(self, interaction_id: str, interaction: Interaction) -> None:
        """Keep its new state for what is left of its life; one that has ended stays ended."""
        self.client.set(_key(interaction_id), interaction.to_json(), keepttl=True, xx=True)

    def end(self, interaction_id: str) -> Interaction | None:
        """Take it for the one response that it gets; None for whoever comes second."""
        text = self.client.getdel(_key(interaction_id))
        return Interaction.from_json(text) if text else None  # type: ignore[arg-type]

    def give_back(self, interaction_id: str, interaction: Interaction) -> None:
        """Undo `end` after a failure of ours, so that the person can try again."""
        self.client.set(_key(interaction_id), interaction.to_json(), ex=self.lifetime)


def client_id_of(interaction_id: str) -> str:
    """Which client an id belongs to, whether or not the interaction still exists."""
    return interaction_id.partition(".")[2]


def _key(interaction_id: str) -> str:
    # Hashed: the names of keys show up in places where their content does not.
    return f"interaction:{hashlib.sha256(interaction_id.encode('utf-8', 'surrogatepass')).hexdigest()}"
