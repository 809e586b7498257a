"""Verbs, printing, exit codes; no logic."""
