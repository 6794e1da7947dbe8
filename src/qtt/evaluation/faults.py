"""Which errors are faults of the world, and not of the pipeline that met them.

The data, the weights, a device, a disk, the machine's memory or a network may be gone for a while. Such a
failure says nothing about a pipeline: it never enters its record, and the step is tried again.
"""

import errno

from qtt.errors import DatasetError, EnvironmentFault, ModelHubError

ENVIRONMENT = "environment"
"""Entry of a failed result's info that says so."""

EXPLAINED = "explained"
"""Entry of a failed result's info: its reason is known to lie in the pipeline, however many share it."""

OF_THE_WORLD = (DatasetError, ModelHubError, EnvironmentFault, ConnectionError)

ERRNOS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM),
        *(errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO),
        *(errno.EMFILE, errno.ENFILE, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT),
    }
)
"""Of the system: disks, files, handles and hosts that are not as they should be."""

SIGNS = (
    "no cuda gpus are available",
    "cuda driver",
    "cuda unknown error",
    "uncorrectable ecc",
    "device(s) is/are busy or unavailable",
    "no space left on device",
    "too many open files",
)
"""What libraries say, in small letters, where they turn such errors into their own."""


def is_of_the_world(error: BaseException) -> bool:
    """Whether an error, or one that led to it, is a fault of the world."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, OF_THE_WORLD):
            return True
        if isinstance(cause, OSError) and cause.errno in ERRNOS:
            return True
        if isinstance(cause, RuntimeError) and any(sign in str(cause).lower() for sign in SIGNS):
            return True
        cause = cause.__cause__
    return False
