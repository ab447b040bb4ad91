"""The APIs of oidc: what staff do on /admin/clients, for programs. Every view enters the same flows."""

from services.oidc.routes.api import clients, registration_tokens, resources

API = (clients.bp, resources.bp, registration_tokens.bp)
