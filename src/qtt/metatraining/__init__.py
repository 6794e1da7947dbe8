"""Meta-training: from recorded learning curves to predictors."""
