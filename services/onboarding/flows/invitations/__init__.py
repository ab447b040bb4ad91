"""Invitations: ways in that skip the review. keeping.py is staff's side, accepting.py the invited person's, uses.py
what an invitation does to an application.
"""
