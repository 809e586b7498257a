"""The engine: bring a chunk home, prove it, delete it at the source."""
