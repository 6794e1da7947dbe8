"""Workers on the machines of a Ray cluster; nothing else of qtt knows Ray."""

from qtt.evaluation.cluster.settings import Cluster

__all__ = ["Cluster"]
