"""Reviewing applications: the queue, claims, notes, questions, decisions, and the mail that reviewers get."""
