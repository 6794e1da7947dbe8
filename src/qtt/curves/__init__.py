"""Curve tables: recorded learning curves in one format; writing, reading, importing and replaying them."""
