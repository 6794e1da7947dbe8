"""Search spaces: hyperparameters, their options and conditions, and pipelines sampled from them."""
