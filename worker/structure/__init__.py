"""Structural checks of media: pure functions over ranged reads."""
