"""Recording learning curves: which pipelines on which datasets, by whom, how far, and as a curve table."""
