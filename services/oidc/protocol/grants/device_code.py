"""The device code grant (RFC 8628 §3.4): a device asks until its person has answered, and gets tokens once."""

from dataclasses import dataclass
from typing import Any

from authlib.oauth2 import rfc8628
from authlib.oauth2.rfc6749 import InvalidGrantError

from libs.guard import single_use
from services.oidc.protocol.client_auth import METHODS
from services.oidc.protocol.device import DeviceRequest, State, device_requests
from services.oidc.protocol.grants import codes
from services.oidc.protocol.tokens import Authorization


@dataclass(frozen=True)
class Credential:
    """A presented device code: what waits for its person, or the row of the grant that they made of it."""

    digest: str
    client_id: str
    waiting: DeviceRequest | None
    row: Any

    def get_client_id(self) -> str:
        return self.client_id

    def get_scope(self) -> str:
        return self.row.scope

    def get_user_code(self) -> "Credential":
        """What Authlib hands to query_user_grant: the credential says more than its code."""
        return self

    def is_expired(self) -> bool:
        return self.row is None and self.waiting is not None and self.waiting.is_over


class DeviceCodeGrant(rfc8628.DeviceCodeGrant):
    """The order is Authlib's: client, grant type, code, its state; once confirmed the code is spent like any other."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(METHODS)
    IS_ITS_OWN_TRANSACTION = True

    def query_device_credential(self, device_code: str) -> Credential:
        """Raises InvalidGrantError. What was confirmed is a row, so that losing Redis loses no answer."""
        digest = single_use.digest(device_code)
        waiting, row = device_requests().find(digest), None
        if waiting is None or waiting.state == State.CONFIRMED.value:
            row = codes.find_code(device_code)
        if row is not None and row.kind == "device_code":
            client_id = row.client_id
        elif waiting is not None:
            client_id, row = waiting.client_id, None
        else:
            raise self._refused("nobody knows the device code")
        if client_id != self.request.client.client_id:
            raise self._refused("the device code is another client's")
        return Credential(digest, client_id, waiting, row)

    def query_user_grant(self, user_code: Credential) -> tuple[Authorization | None, bool] | None:
        """What the person answered; None while they have not. Raises InvalidGrantError."""
        row, waiting = user_code.row, user_code.waiting
        if row is None:
            is_denied = waiting is not None and waiting.state == State.DENIED.value
            return (None, False) if is_denied else None
        person = codes.who_gave(self.request, row) if codes.is_unspent(self.request, row) else None
        if person is None:
            raise self._refused(self.request.detail)
        return person, True

    def should_slow_down(self, credential: Credential) -> bool:
        return device_requests().is_too_fast(credential.digest)

    def save_token(self, token: dict[str, Any]) -> None:
        codes.spend(self.request, self.request.credential.row, token)

    def _refused(self, detail: str | None) -> InvalidGrantError:
        self.request.detail = detail
        return InvalidGrantError("The device code is not valid.")
