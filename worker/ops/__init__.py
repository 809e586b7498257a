"""What the commands can do, as functions that return dataclasses."""
