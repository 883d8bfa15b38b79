"""Running copies of a system: of local processes, or of nothing at all."""
