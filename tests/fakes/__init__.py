"""Fakes of our own ports, each held to the same contract suite as the real adapter."""
