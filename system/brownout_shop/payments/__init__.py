"""The payments service: what was paid for an order, once."""
