"""Finetuning on images."""
