"""The gateway: the one door to the shop."""
