"""Model hubs: which pretrained models there are, facts about them, and their weights."""
