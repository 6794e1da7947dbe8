"""Optimizers compared on recorded learning curves: hours of search replayed in seconds.

What is counted, exactly, so that other tools can be compared:
- The candidates of a dataset are all of its runs in the table that are not unusable.
- One step is one more epoch of one run; the clock advances by that epoch's recorded seconds. A run whose
  curve has ended leaves the pool at no cost, when it is asked for more. The search ends at 57,600 s, or when
  the pool is empty; an epoch that would end later is not observed.
- regret = (y_max - best score so far) / (y_max - y_min), y_max and y_min over all epochs of all candidates;
  before the first finished epoch it is 1.
- The mean over time (`auc`) takes 50 log-spaced times from 60 to 57,600 s. Means are over seeds, then over
  datasets; standard errors are those over datasets. Ranks are taken on each dataset, seed and time, ties
  averaged.
- The time that an optimizer takes to decide is measured apart, and does not move the clock.
"""
