"""A stand-in for a payment provider: outside the shop, in no registry, with a ledger of its own."""
