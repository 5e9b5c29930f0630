"""The door to key material: make it, load it, sign with it, pin what others made.

Nothing here is ever made anew in the place of something that is damaged or missing: a key that cannot be
read stops the caller. Private keys and the installation key leave this package only as a `Signer`.
"""
