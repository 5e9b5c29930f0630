"""The rules, pure: bytes and values in, values or errors out. No clock, no I/O, no randomness."""
