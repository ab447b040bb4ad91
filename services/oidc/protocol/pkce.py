"""PKCE (RFC 7636), S256 alone: a code bound to a challenge is worth nothing without its verifier."""

import hmac
from typing import Any

from authlib.oauth2.rfc6749 import InvalidGrantError
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge
from authlib.oauth2.rfc7636.challenge import CODE_VERIFIER_PATTERN

METHODS_SUPPORTED = ("S256",)


class S256Challenge(CodeChallenge):
    """The check at the token endpoint; the one at the authorization endpoint stands in its list of checks."""

    DEFAULT_CODE_CHALLENGE_METHOD = "S256"
    SUPPORTED_CODE_CHALLENGE_METHOD = METHODS_SUPPORTED
    CODE_CHALLENGE_METHODS: dict[str, Any] = {}

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        raise NotImplementedError("protocol/authorization/checks.py reads the challenge")

    def validate_code_verifier(self, grant: Any, result: Any) -> None:
        """Raises InvalidGrantError whatever is wrong with the verifier, and for one that nothing asked for."""
        challenge = grant.request.authorization_code.code_challenge
        verifier = grant.request.form.get("code_verifier")
        if challenge is None and verifier is None:
            return
        if challenge is None:
            grant.request.detail = "code_verifier sent for a code without a challenge"
        elif verifier is None:
            grant.request.detail = "code_verifier is missing"
        else:
            grant.request.detail = "code_verifier does not match"
        if challenge is None or verifier is None or not CODE_VERIFIER_PATTERN.fullmatch(verifier):
            raise InvalidGrantError("The code verifier does not belong to this code.")
        if not hmac.compare_digest(create_s256_code_challenge(verifier), challenge):
            raise InvalidGrantError("The code verifier does not belong to this code.")
        grant.request.detail = None
