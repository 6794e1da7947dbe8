"""Datasets as people have them: class folders, split folders, tables of files and labels, saved datasets."""

from qtt.data.sources.opening import OpenedDataset, list_dataset, list_task, open_dataset
from qtt.data.sources.source import Source, dataset_source

__all__ = ["OpenedDataset", "Source", "dataset_source", "list_dataset", "list_task", "open_dataset"]
