"""The orders service: what was ordered, by whom."""
