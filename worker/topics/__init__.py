"""Adapters of the topic: where others hear of what happened here."""
