"""How defaults, weights and tables were made; not part of the wheel."""
