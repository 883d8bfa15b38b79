"""The products service: what there is to buy, and how much of it is left."""
