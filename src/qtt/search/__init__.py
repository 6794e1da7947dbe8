"""The search: a tuner that asks, evaluates, writes down and tells, and the training after it."""
