"""The flags of address spaces: what a fault is for and what came of it (include/linux/mm_types.h), what a vma is (VM_, include/linux/mm.h), how one is asked for (MAP_), how pages are taken (FOLL_), why a fault is
user space's (include/uapi/linux/userfaultfd.h).
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "FAULT_FLAG_ALLOW_RETRY",
    "FAULT_FLAG_UNSHARE",
    "FAULT_FLAG_VMA_LOCK",
    "FAULT_FLAG_WRITE",
    "FOLL_ALL",
    "FOLL_LONGTERM",
    "FOLL_PIN",
    "FOLL_SPLIT_PMD",
    "FOLL_TOUCH",
    "FOLL_WRITE",
    "MAP_NORESERVE",
    "MAP_PRIVATE",
    "MAP_SEALS_LATE",
    "UFFD_MINOR",
    "UFFD_MISSING",
    "UFFD_WP",
    "VM_ACCOUNT",
    "VM_AS_IT_WAS",
    "VM_DEVMAP",
    "VM_DONTCOPY",
    "VM_FAULT_COMPLETED",
    "VM_FAULT_ERROR",
    "VM_FAULT_NOPAGE",
    "VM_FAULT_RETRY",
    "VM_FAULT_SIGBUS",
    "VM_FAULT_SIGSEGV",
    "VM_FAULT_UNLOCKED",
    "VM_FSDAX",
    "VM_HUGEPAGE",
    "VM_LOCKED",
    "VM_NONE",
    "VM_PFNMAP",
    "VM_PRIVATE",
    "VM_SEALED",
    "VM_UFFD_FLAGS",
    "VM_UFFD_MINOR",
    "VM_UFFD_MISSING",
    "VM_UFFD_WP",
    "VM_WIPEONFORK",
]

# enum vm_fault_reason and enum fault_flag; the kernel's own values do not all fit a byte.
VM_FAULT_SIGBUS: Final = 2
VM_FAULT_SIGSEGV: Final = 64
VM_FAULT_NOPAGE: Final = 8
VM_FAULT_RETRY: Final = 16
"""The mmap lock was given up; try the access again."""
VM_FAULT_COMPLETED: Final = 32
"""The fault is done, and the mmap lock was given up after that."""
VM_FAULT_UNLOCKED: Final = 48
"""VM_FAULT_RETRY or VM_FAULT_COMPLETED: the caller has the mmap lock no more."""
VM_FAULT_ERROR: Final = 66
"""Any of the bits that mean the access cannot be made."""

FAULT_FLAG_WRITE: Final = 1
FAULT_FLAG_UNSHARE: Final = 2
"""Not an access: what is shared with others is replaced by a page of one's own, which may still not be written."""
FAULT_FLAG_ALLOW_RETRY: Final = 4
"""The handler may give up the mmap lock to wait, and say VM_FAULT_RETRY; or when it has made a file's page dirty (VM_FAULT_COMPLETED)."""

FAULT_FLAG_VMA_LOCK: Final = 8
"""The fault is under the lock of its vma, and not under the mmap lock (`vma_lock`)."""

VM_PFNMAP = 1
"""vm_flags: the pages mapped are nobody's to count and cannot be mirrored."""
VM_DEVMAP = 2
"""The entries are `pte_devmap`: the pages belong to a `dev_pagemap` and a mapping takes no reference."""
VM_FSDAX = 6
"""VM_DEVMAP, and vma_is_fsdax(): the pages are blocks of a file system's file, which takes them back. A file's to say, as the two above are."""
VM_SEALED = 4
"""No VM_MAYWRITE: mapped for reading when the file was sealed against writing, and never to be made writable."""
VM_NONE = 16
"""No VM_READ: PROT_NONE, nothing can be accessed."""
VM_PRIVATE = 8
"""No VM_SHARED, of a file's mapping: what is written is a copy of the process's own."""
VM_HUGEPAGE = 32
"""MADV_HUGEPAGE: huge pages are wanted."""

VM_UFFD_MISSING = 64
"""Registered with the process's userfaultfd: who touches a page that is not there waits for user space."""
VM_UFFD_WP = 128
"""The same of who writes a page that is write-protected by it (`Pte.uffd_wp`)."""
VM_UFFD_MINOR = 1
"""The same of who touches a memfd's page that the file has, and that is not mapped. (VM_PFNMAP is a file's to say: no vma's `flags` have it.)"""
VM_LOCKED = 2
"""mlock(): the pages stay in memory. (VM_DEVMAP is a file's to say, as VM_PFNMAP is.)"""
VM_UFFD_FLAGS = 193
"""Any of the three."""

VM_DONTCOPY: Final = 1
"""MADV_DONTFORK: a child has no such vma. This one and the next two are kept in `Vma.more_flags`."""
VM_WIPEONFORK: Final = 2
"""MADV_WIPEONFORK: a child's vma is as if nobody had touched it."""
VM_ACCOUNT: Final = 4
"""Its pages are counted among those that the machine must have (vm_enough_memory()), as they may be written, or might be once."""
VM_AS_IT_WAS: Final = 255
"""None of the kernel's: `more_flags` do not change."""

MAP_PRIVATE: Final = 1
"""mmap()'s flags (include/uapi/linux/mman.h; the kernel's own values do not all fit a byte): of a file, which is mapped shared else."""
MAP_NORESERVE: Final = 2
"""No pages of the pool are reserved. (Known of files of huge pages alone.)"""
MAP_SEALS_LATE: Final = 4
"""None of the kernel's: see `releases` (future-write-seal-is-asked-late)."""

UFFD_MISSING: Final = 0
UFFD_WP: Final = 1
UFFD_MINOR: Final = 2
"""Why a fault is user space's (UFFD_PAGEFAULT_FLAG_)."""

# include/linux/mm_types.h: how pages are taken (`gup`).
FOLL_WRITE: Final = 1
"""The page may be written."""
FOLL_LONGTERM: Final = 2
"""It is kept for as long as user space likes."""
FOLL_PIN: Final = 4
"""A pin (pin_user_pages()); without it a reference alone, FOLL_GET (get_user_pages())."""
FOLL_SPLIT_PMD: Final = 8
"""Of a huge page that one entry maps each page gets an entry of its own first."""
FOLL_TOUCH: Final = 16
"""A page that is to be written is marked dirty. Set within mm/gup.c alone, by all callers but pin_user_pages() and the walk without a lock."""
FOLL_ALL: Final = 31
"""All of these: others (FOLL_FORCE, FOLL_NOFAULT) are not modelled."""
