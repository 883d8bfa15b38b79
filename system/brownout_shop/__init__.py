"""The shop: the system under test, built as the guide describes."""
