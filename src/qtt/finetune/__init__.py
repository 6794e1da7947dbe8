"""Objectives that really train; the only part of qtt that imports Lightning."""
