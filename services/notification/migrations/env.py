"""Runs notification's migrations the way the house does."""

from libs.database import run_migrations

run_migrations()
