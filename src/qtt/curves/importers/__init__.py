"""Importers: one module per layout in which learning curves are published, each with a function `read`.

extended   perf.json, cost.json, table.csv, descriptors.json (published with Quick-Tune-Tool)
published  one JSON per quantity, args.json; versions micro, mini, extended (published with Quick-Tune)
final      final_scores.csv: only the last epoch of every run
csv_files  config.csv, meta.csv, curve.csv, cost.csv: what others may have

`python -m qtt.curves.importers NAME --source DIR --out DIR` writes a curve table.
"""
