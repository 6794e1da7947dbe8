"""Predictors: how good a pipeline will be after its next step, and how long that step takes."""
