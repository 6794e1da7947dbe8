"""A search as files: its folder, journal and history, and the networks that it kept."""
