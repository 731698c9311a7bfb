"""Training of the embedded backbone from random initialisation (see README.md)."""
