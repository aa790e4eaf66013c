"""Asterisk: getting it, running it, and speaking ARI to it."""
