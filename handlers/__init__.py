"""The edge that listens: HTTP or files in, domain out."""
