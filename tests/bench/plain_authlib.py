"""A plain issuer of Authlib and Flask-SQLAlchemy, as its documentation has one write it: what ours is held against.

No straw man: keys are parsed once, codes, tokens and clients are found by an index, and nobody is asked for consent.
It has no limits, no log, no metrics, no refresh tokens and no way to end anything.
"""

import os
import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector, current_token
from authlib.integrations.sqla_oauth2 import (
    OAuth2AuthorizationCodeMixin,
    OAuth2ClientMixin,
    OAuth2TokenMixin,
    create_bearer_token_validator,
    create_query_client_func,
    create_query_token_func,
    create_save_token_func,
)
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, Response, jsonify, session
from flask_sqlalchemy import SQLAlchemy
from joserfc.jwk import ECKey, KeySet, RSAKey

ISSUER = "http://plain.test"

db = SQLAlchemy()
es256 = ECKey.generate_key("P-256", {"kid": "es256", "use": "sig", "alg": "ES256"})
rs256 = RSAKey.generate_key(2048, {"kid": "rs256", "use": "sig", "alg": "RS256"})


class User(db.Model):  # type: ignore[name-defined,misc]
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(40))
    email = db.Column(db.String(80), unique=True)

    def get_user_id(self) -> int:
        return int(self.id)


class OAuth2Client(db.Model, OAuth2ClientMixin):  # type: ignore[name-defined,misc]
    __tablename__ = "oauth2_client"
    id = db.Column(db.Integer, primary_key=True)


class OAuth2AuthorizationCode(db.Model, OAuth2AuthorizationCodeMixin):  # type: ignore[name-defined,misc]
    __tablename__ = "oauth2_code"
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.Integer, db.ForeignKey("user.id", ondelete="CASCADE"))
    user = db.relationship("User")


class OAuth2Token(db.Model, OAuth2TokenMixin):  # type: ignore[name-defined,misc]
    __tablename__ = "oauth2_token"
    id = db.Column(db.Integer, primary_key=True)
    access_token = db.Column(db.Text, unique=True, nullable=False)
    user_id = db.Column(db.Integer, db.ForeignKey("user.id", ondelete="CASCADE"))
    user = db.relationship("User")


class TokenGenerator(JWTBearerTokenGenerator):
    def get_jwks(self) -> ECKey:
        return es256


class CodeGrant(AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none"]

    def save_authorization_code(self, code: str, request: Any) -> OAuth2AuthorizationCode:
        kept = OAuth2AuthorizationCode(
            code=code,
            client_id=request.client.client_id,
            redirect_uri=request.payload.redirect_uri,
            scope=request.payload.scope,
            user_id=request.user.id,
            nonce=request.payload.data.get("nonce"),
            code_challenge=request.payload.data.get("code_challenge"),
            code_challenge_method=request.payload.data.get("code_challenge_method"),
        )
        db.session.add(kept)
        db.session.commit()
        return kept

    def query_authorization_code(self, code: str, client: OAuth2Client) -> OAuth2AuthorizationCode | None:
        found = OAuth2AuthorizationCode.query.filter_by(code=code, client_id=client.client_id).first()
        return found if found and not found.is_expired() else None

    def delete_authorization_code(self, authorization_code: OAuth2AuthorizationCode) -> None:
        db.session.delete(authorization_code)
        db.session.commit()

    def authenticate_user(self, authorization_code: OAuth2AuthorizationCode) -> User | None:
        return db.session.get(User, authorization_code.user_id)


class IDToken(OpenIDCode):
    def resolve_client_private_key(self, client: OAuth2Client) -> RSAKey:
        return rs256

    def get_client_claims(self, client: OAuth2Client) -> dict[str, Any]:
        return {"iss": ISSUER}

    def get_client_algorithm(self, client: OAuth2Client) -> str:
        return "RS256"

    def exists_nonce(self, nonce: str, request: Any) -> bool:
        found = OAuth2AuthorizationCode.query.filter_by(client_id=request.payload.client_id, nonce=nonce)
        return bool(found.first())

    def generate_user_info(self, user: User, scope: str) -> UserInfo:
        return user_info(user, scope)


class Introspection(IntrospectionEndpoint):
    def query_token(self, token_string: str, token_type_hint: str | None) -> OAuth2Token | None:
        return create_query_token_func(db.session, OAuth2Token)(token_string, token_type_hint)

    def check_permission(self, token: OAuth2Token, client: OAuth2Client, request: Any) -> bool:
        return bool(token.client_id == client.client_id)

    def introspect_token(self, token: OAuth2Token) -> dict[str, Any]:
        return {
            "active": not token.is_expired() and not token.is_revoked(),
            "client_id": token.client_id,
            "token_type": token.token_type,
            "scope": token.get_scope(),
            "sub": str(token.user_id),
            "iss": ISSUER,
            "exp": token.issued_at + token.expires_in,
            "iat": token.issued_at,
        }


def user_info(user: User, scope: str) -> UserInfo:
    info = UserInfo(sub=str(user.id), name=user.name)
    if "email" in scope:
        info["email"] = user.email
    return info


def create_app() -> Flask:
    """The issuer, on the database of PLAIN_DATABASE_URL."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="plain", SQLALCHEMY_DATABASE_URI=os.environ["PLAIN_DATABASE_URL"])
    db.init_app(app)
    server = AuthorizationServer(
        app,
        query_client=create_query_client_func(db.session, OAuth2Client),
        save_token=create_save_token_func(db.session, OAuth2Token),
    )
    server.register_token_generator("default", TokenGenerator(issuer=ISSUER, alg="ES256"))
    server.register_grant(ClientCredentialsGrant)
    server.register_grant(CodeGrant, [CodeChallenge(required=True), IDToken(require_nonce=False)])
    server.register_endpoint(Introspection)
    require_oauth = ResourceProtector()
    require_oauth.register_token_validator(create_bearer_token_validator(db.session, OAuth2Token)())

    @app.get("/constant")
    def constant() -> str:
        return "constant"

    @app.get("/login/<int:user_id>")
    def login(user_id: int) -> str:
        session["id"] = user_id
        return "signed in"

    @app.get("/oauth2/authorize")
    def authorize() -> Response:
        user = db.session.get(User, session["id"])
        grant = server.get_consent_grant(end_user=user)
        return server.create_authorization_response(grant_user=user, grant=grant)

    @app.post("/oauth2/token")
    def token() -> Response:
        return server.create_token_response()

    @app.post("/oauth2/introspect")
    def introspect() -> Response:
        return server.create_endpoint_response(Introspection.ENDPOINT_NAME)

    @app.get("/oauth2/userinfo")
    @require_oauth("openid")
    def userinfo() -> Response:
        return jsonify(user_info(current_token.user, current_token.scope))

    @app.get("/.well-known/jwks.json")
    def jwks() -> Response:
        return jsonify(KeySet([es256, rs256]).as_dict(private=False))

    return app


def seed(*, redirect_uri: str, people: int) -> tuple[str, str]:
    """Tables, people and one confidential client. Returns the client's id and secret; people count from 1."""
    db.create_all()
    users = [User(name="Test Person", email=f"person-{number}@people.test") for number in range(people)]
    client = OAuth2Client(
        client_id="bench", client_secret="secret-of-the-bench", client_id_issued_at=int(time.time())
    )
    client.set_client_metadata(
        {
            "client_name": "Bench",
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code", "client_credentials"],
            "response_types": ["code"],
            "scope": "openid profile email users:read",
            "token_endpoint_auth_method": "client_secret_basic",
        }
    )
    db.session.add_all([*users, client])
    db.session.commit()
    return client.client_id, client.client_secret
