"""Where a search reports to: console, files, dashboards."""

from qtt.tracking.base import SearchInfo, Summary, Tracker, TrackerGroup

__all__ = ["SearchInfo", "Summary", "Tracker", "TrackerGroup"]
