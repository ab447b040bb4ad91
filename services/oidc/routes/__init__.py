"""The doors of oidc: endpoints for clients, pages for people."""
