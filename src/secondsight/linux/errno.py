"""include/uapi/asm-generic/errno-base.h and errno.h: the error numbers the modelled functions return.

Functions return them negated, as the kernel does. `SIGSEGV` and `SIGBUS` are what a CPU access ends in when the
kernel can do nothing for it; `cpu_read` and `cpu_write` return them negated too.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "EACCES",
    "EAGAIN",
    "EALREADY",
    "EBADF",
    "EBADFD",
    "EBUSY",
    "EDEADLK",
    "EEXIST",
    "EFAULT",
    "EINTR",
    "EINVAL",
    "EIO",
    "ENODEV",
    "ENOENT",
    "ENOMEM",
    "ENOSPC",
    "ENXIO",
    "EOPNOTSUPP",
    "EOVERFLOW",
    "EPERM",
    "ESRCH",
    "SIGBUS",
    "SIGSEGV",
]

EPERM: Final = 1
ENOENT: Final = 2
ESRCH: Final = 3
EINTR: Final = 4
EIO: Final = 5
ENXIO: Final = 6
EBADF: Final = 9
EAGAIN: Final = 11
ENOMEM: Final = 12
EACCES: Final = 13
EFAULT: Final = 14
EBUSY: Final = 16
EEXIST: Final = 17
ENODEV: Final = 19
EINVAL: Final = 22
ENOSPC: Final = 28
EDEADLK: Final = 35
EOVERFLOW: Final = 75
EBADFD: Final = 77
EOPNOTSUPP: Final = 95
EALREADY: Final = 114

SIGBUS: Final = 7
SIGSEGV: Final = 11
