"""A stand-in for the control API of ACS: recordings, rooms and calls, and its callbacks."""
