"""Numbers as people say them."""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is shortest: 45 s, 15 min, 4 h."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def counted(number: int, noun: str) -> str:
    """1 dataset, 2 datasets; the plural takes an s, or es."""
    plural = "es" if noun.endswith(("s", "ch")) else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"
