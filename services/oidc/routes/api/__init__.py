"""The APIs of oidc: what staff do on /admin/clients, for programs. Every view enters the same flows."""

from services.oidc.routes.api import clients, resources

API = (clients.bp, resources.bp)
