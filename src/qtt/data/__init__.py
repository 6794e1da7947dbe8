"""Datasets on disk: image folders, and the embedded one. Nothing here needs torch."""
