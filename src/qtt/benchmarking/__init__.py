"""Optimizers compared on recorded learning curves: hours of search replayed in seconds."""
