"""The engine: bring a chunk home, prove it, delete it at the source."""

__version__ = "0.9.0"
