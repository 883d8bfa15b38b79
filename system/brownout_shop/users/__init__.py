"""The users service: who is who, and who may come in."""
