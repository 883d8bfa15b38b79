"""How verdicts are told."""
