"""The two ceremonies of WebAuthn, as py_webauthn knows them: what we ask for, and whether an answer is genuine."""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import webauthn
from flask import current_app
from flask_babel import gettext, lazy_gettext
from webauthn.helpers import (
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.options_to_json_dict import options_to_json_dict
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from libs.observe.logs import get_logger
from libs.service import parts_of
from libs.web.problems import Problem
from services.account.models import Passkey

log = get_logger("account.passkeys")

Found = TypeVar("Found")

NAME = "UpdSpace ID"
ALGORITHMS = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
PATIENCE_MS = 300_000
"""How long a browser lets the person look for their key; a hint."""
MAX_RESPONSE = 16_000
"""Characters of an answer; the longest genuine ones, with an attestation nobody asked for, stay below."""
MAX_CREDENTIAL_ID = 1023
"""WebAuthn §4, `Credential ID`."""
NO_MODEL = str(uuid.UUID(int=0))


class NotGenuine(Exception):
    """What came is no answer of the right authenticator to our challenge."""


class PasskeyNotTaken(Problem):
    """The new passkey is not one: garbage, made elsewhere, or by a device that does not check who holds it."""

    status, slug, title = 422, "passkey-not-taken", lazy_gettext("This passkey could not be added")

    def __init__(self) -> None:
        super().__init__(gettext("Please try again, or use another device."))


@dataclass(frozen=True, kw_only=True)
class NewPasskey:
    """A passkey just made, and proven to be."""

    credential_id: bytes
    public_key: bytes = field(repr=False)
    sign_count: int
    aaguid: str | None
    transports: tuple[str, ...]
    is_synced: bool


def creation_options(
    challenge: bytes, *, sub: str, email: str, name: str, present: Sequence[Passkey] = ()
) -> dict[str, Any]:
    """What a browser needs to make a passkey. Each can sign its owner in alone: it finds itself, and checks them.

    `present` are those the person has: no authenticator makes a second one.
    """
    options = webauthn.generate_registration_options(
        rp_id=_rp_id(),
        rp_name=NAME,
        user_id=handle_of(sub),
        user_name=email,
        user_display_name=name,
        challenge=challenge,
        timeout=PATIENCE_MS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        exclude_credentials=_descriptors(present),
        supported_pub_key_algs=ALGORITHMS,
    )
    return options_to_json_dict(options)


def request_options(
    challenge: bytes, *, allowed: Sequence[Passkey] = (), must_verify: bool
) -> dict[str, Any]:
    """What a browser needs to answer with a passkey: one of `allowed`, or whichever the person picks."""
    options = webauthn.generate_authentication_options(
        rp_id=_rp_id(),
        challenge=challenge,
        timeout=PATIENCE_MS,
        allow_credentials=_descriptors(allowed),
        user_verification=(
            UserVerificationRequirement.REQUIRED if must_verify else UserVerificationRequirement.PREFERRED
        ),
    )
    return options_to_json_dict(options)


def verify_new(response: str, *, challenge: bytes) -> NewPasskey:
    """The passkey that an authenticator made for us. Raises PasskeyNotTaken."""

    def verify() -> NewPasskey:
        credential = parse_registration_credential_json(_bounded(response))
        _refuse_frames(credential.response.client_data_json)
        made = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=_rp_id(),
            expected_origin=_origin(),
            require_user_verification=True,
            supported_pub_key_algs=ALGORITHMS,
        )
        if len(made.credential_id) > MAX_CREDENTIAL_ID:
            raise NotGenuine("its id is too long")
        return NewPasskey(
            credential_id=made.credential_id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            aaguid=made.aaguid if made.aaguid != NO_MODEL else None,
            transports=tuple(transport.value for transport in credential.response.transports or ()),
            is_synced=made.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        )

    try:
        return _judged(verify)
    except NotGenuine:
        raise PasskeyNotTaken from None


def read_answer(response: str) -> AuthenticationCredential:
    """An answer taken apart, nothing of it believed yet. Raises NotGenuine."""
    return _judged(lambda: parse_authentication_credential_json(_bounded(response)))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a genuine answer says."""

    sign_count: int
    is_person_verified: bool


def verify_answer(
    answer: AuthenticationCredential, *, passkey: Passkey, sub: str, challenge: bytes, must_verify: bool
) -> Answer:
    """What this passkey answered to our challenge. Raises NotGenuine.

    Its counter is not judged here: that takes a conditional update.
    """

    def verify() -> Answer:
        _refuse_frames(answer.response.client_data_json)
        if answer.response.user_handle not in (None, handle_of(sub)):
            raise NotGenuine("it belongs to somebody else")
        verified = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=_rp_id(),
            expected_origin=_origin(),
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,
            require_user_verification=must_verify,
        )
        if passkey.is_synced != (verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE):
            raise NotGenuine("it is synced now, or not any more, which never changes")
        return Answer(sign_count=verified.new_sign_count, is_person_verified=verified.user_verified)

    return _judged(verify)


def handle_of(sub: str) -> bytes:
    """The user handle that authenticators keep: it says nothing about the person."""
    return uuid.UUID(sub).bytes


def _rp_id() -> str:
    host = urlsplit(parts_of(current_app).settings.PUBLIC_URL).hostname
    assert host
    return host


def _origin() -> str:
    origin: str = parts_of(current_app).settings.PUBLIC_URL
    return origin


def _descriptors(passkeys: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=passkey.credential_id,
            transports=[AuthenticatorTransport(word) for word in passkey.transports],
        )
        for passkey in passkeys
    ]


def _bounded(response: str) -> dict[str, Any]:
    if len(response) > MAX_RESPONSE:
        raise NotGenuine("it is too long")
    found = json.loads(response)
    if not isinstance(found, dict):
        raise NotGenuine("it is no object")
    return found


def _refuse_frames(client_data: bytes) -> None:
    """An answer given inside another site's page is not ours: our pages are never framed."""
    if parse_client_data_json(client_data).cross_origin:
        raise NotGenuine("it was given inside a frame")


def _judged(verify: Callable[[], Found]) -> Found:
    """What `verify` finds. Raises NotGenuine, and says why to the log alone."""
    try:
        return verify()
    except Exception as error:
        # Whatever the parsers stumble over (JSON, base64url, CBOR, keys that are none) came from outside.
        log.warning("passkey_not_genuine", error=type(error).__name__, why=str(error)[:200])
        raise NotGenuine from error
