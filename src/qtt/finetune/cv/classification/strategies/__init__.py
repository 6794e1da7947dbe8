"""Finetuning strategies: one file each."""
