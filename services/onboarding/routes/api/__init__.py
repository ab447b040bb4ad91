"""The APIs of onboarding: what reviewers do on their pages, and what applicants may do without any account."""

from services.onboarding.routes.api import applications, invitations, own

API = (own.bp, applications.bp, invitations.bp)
