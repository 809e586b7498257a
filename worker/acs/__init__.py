"""Asking ACS on an operator's behalf: recordings, rooms, calls, by the official clients."""
