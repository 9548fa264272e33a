"""The words of this project, a paragraph each: the kernel's, and those of checking. For `secondsight explain`, the site of tables, the documents.

A reader needs no background for them: a paragraph uses ordinary words, and other terms of the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["KERNEL", "MACHINE", "TERMS", "Term", "terms_in"]

KERNEL, MACHINE = "Memory and devices", "Checking"


@dataclass(frozen=True, slots=True)
class Term:
    """A word: of which part, its paragraph, and other forms of it that a text may have."""

    name: str
    part: str
    text: str
    forms: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        """What a link to it ends with."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @property
    def summary(self) -> str:
        """Its first sentence."""
        return self.text.partition(". ")[0].removesuffix(".")


TERMS: tuple[Term, ...] = (
    # Memory and devices.
    Term(
        "page", KERNEL,
        "A page is a piece of a process's memory, 4096 bytes on most machines. A program uses addresses. The machine finds the "
        "page of an address, and the page table says where the page lies.", ("pages",),
    ),
    Term(
        "frame", KERNEL,
        "A frame is a piece of the machine's real memory, as large as a page. A page that is in use lies in a frame. A frame "
        "that is given back is soon another's: who goes on to use it reads or overwrites what belongs to somebody else. In "
        "traces frames are P1, P2 and so on.", ("frames",),
    ),
    Term(
        "page table", KERNEL,
        "A page table says of each page of a process which frame it lies in, and whether it may be written. The CPU looks there"
        " at every access. The kernel changes it all the time: it moves, forgets and takes away pages.", ("page tables",),
    ),
    Term(
        "secondary page table", KERNEL,
        "A secondary page table is that of a device which works on a process's memory, such as a GPU. It is a copy of the "
        "CPU's, made page by page when the device needs one. The copy is wrong as soon as the CPU's page table changes, unless "
        "somebody tells the device's driver.", ("device's page table", "device's table", "secondary page tables"),
    ),
    Term(
        "driver", KERNEL,
        "A driver is the part of the kernel that serves one kind of device. Here it has two duties: to make a page accessible "
        "to the device, and to take it back when the CPU's page table is about to change.", ("drivers",),
    ),
    Term(
        "mapping", KERNEL,
        "A mapping is a range of a process's addresses with something behind it: fresh memory, a file, a device. mmap() makes "
        "one, munmap() takes it away. The kernel's word for its record is vma.", ("mappings", "vma", "vmas"),
    ),
    Term(
        "fault", KERNEL,
        "A fault is what happens when an address is used that the page table has no frame for. The kernel then finds or makes "
        "one, and the access is tried again. A device can fault too: its driver asks the kernel for the frame.", ("faults",),
    ),
    Term(
        "SIGSEGV", KERNEL,
        "SIGSEGV is what a process gets when it uses an address that has no mapping. A device that mirrors the process must "
        "fail there too.",
    ),
    Term(
        "zero page", KERNEL,
        "The zero page is one frame full of zeros. Every page that was only read and never written lies in it. The first write "
        "replaces it by a frame of its own.",
    ),
    Term(
        "mmu notifier", KERNEL,
        "An mmu notifier is how the kernel tells a driver that a range of a process's page table is about to change. The "
        "driver's callback must have taken the range out of the device's page table when it returns.", ("mmu notifiers", "notifier", "notifiers"),
    ),
    Term(
        "invalidate", KERNEL,
        "To invalidate a range is to make all copies of that part of the page table unusable, before the CPU's own entries go. "
        "The callback of an mmu notifier does it.", ("invalidation", "invalidated", "invalidates"),
    ),
    Term(
        "interval notifier", KERNEL,
        "An interval notifier is an mmu notifier for one range of addresses. It has a sequence number. A driver notes the "
        "number, looks for the frame, and under its lock asks whether the number is still the same. If it is not, the driver "
        "starts over.", ("interval notifiers",),
    ),
    Term(
        "sequence number", KERNEL,
        "A sequence number grows with every invalidation. It is odd while one is going on. Who reads the same even number "
        "before and after something knows that nothing was invalidated in between.", ("sequence numbers", "invalidate_seq"),
    ),
    Term(
        "range.valid", KERNEL,
        "range.valid was, up to Linux 5.4, a flag of a range that a driver had registered. It was false while the range was "
        "being invalidated, and true again afterwards. So it could not tell whether an invalidation had come and gone.",
    ),
    Term(
        "hmm_range_fault", KERNEL,
        "hmm_range_fault() gives a driver the frames of a range of addresses, and lets the process fault where there are none. "
        "It takes no reference: what it gave may be out of date as soon as it returns. A driver must test for that.", ("hmm_range_fault()", "HMM"),
    ),
    Term(
        "mmap lock", KERNEL,
        "The mmap lock guards a process's mappings. Who changes a mapping holds it for writing, a fault holds it for reading. "
        "Page table entries can change with the lock held for reading, or without it.", ("mmap_lock", "mmap_sem"),
    ),
    Term(
        "reference", KERNEL,
        "A reference to a frame keeps it from being given to somebody else. Each user counts as one. The frame is free when the"
        " last has gone.", ("references", "refcount"),
    ),
    Term(
        "pin", KERNEL,
        "A pin is a reference that also says: this page is being read or written by a device, do not move it.", ("pins", "pinned"),
    ),
    Term(
        "MADV_DONTNEED", KERNEL,
        "MADV_DONTNEED is a process's word that it does not need the contents of some pages any more. The pages are empty "
        "afterwards, the mapping stays.",
    ),
    Term(
        "memfd", KERNEL,
        "A memfd is a file that lies in memory and has no name. Several processes can map it and so share pages.", ("memfds",),
    ),
    Term(
        "userfaultfd", KERNEL,
        "A userfaultfd is a file descriptor by which a process answers its own page faults. Who touches a page of registered memory waits, "
        "until a thread of the process has read the message and filled the page. It can ask to hear of changes too: of MADV_DONTNEED "
        "before the pages go, of munmap when they have gone.", ("userfaults", "userfault"),
    ),
    Term(
        "direct I/O", KERNEL,
        "Direct I/O (O_DIRECT) reads from a disk into the pages of a process without a copy in between. The pages are pinned while the "
        "disk writes to them. A buffer may be a part of a page.", ("O_DIRECT", "direct read"),
    ),
    Term(
        "hole", KERNEL,
        "To punch a hole into a file is to give some of its pages back. Whoever reads them later finds zeros, in another frame.", ("holes", "punches", "punch"),
    ),
    Term(
        "dma-buf", KERNEL,
        "A dma-buf is memory that one driver, the exporter, lends to others, the importers. move_notify tells importers that "
        "the memory is about to move.", ("exporter", "importer", "importers", "move_notify"),
    ),
    Term(
        "udmabuf", KERNEL,
        "A udmabuf is a dma-buf made of pages of a memfd. A virtual machine's monitor uses it to show a guest's picture without"
        " copying it. The question of 2023 is what it shows after the memfd got a hole and was written again.", ("udmabufs",),
    ),
    Term(
        "VMM", KERNEL,
        "A VMM, virtual machine monitor, is the process in which a virtual machine runs. The guest's memory is the VMM's "
        "memory.",
    ),
    Term(
        "dev_pagemap", KERNEL,
        "A dev_pagemap describes memory that lies on a device, such as a persistent memory module. When the device goes away it"
        " is disabled (no new users), invalidated (taken out of all page tables) and drained (waited until the last user has "
        "gone), in this order.", ("DAX",),
    ),
    Term(
        "OOM reaper", KERNEL,
        "The OOM reaper takes the memory of a process that is being killed because the machine is out of memory. It must not "
        "sleep. So a driver's callback must not wait for a lock then.",
    ),
    Term(
        "grace period", KERNEL,
        "A grace period ends when every reader that had begun before it is done. RCU and SRCU are the kernel's ways to wait for"
        " one.", ("RCU", "SRCU"),
    ),
    # Checking.
    Term(
        "model", MACHINE,
        "The model is the kernel's machinery written as a program that can be run step by step and in every order. It has the "
        "kernel's functions under their names. It is believed as far as it agrees with real kernels.",
    ),
    Term(
        "thread", MACHINE,
        "A thread is one sequence of actions that goes on beside others: the CPU that runs the process, the device, another "
        "CPU. A mail thread is something else: a discussion.", ("threads",),
    ),
    Term(
        "step", MACHINE,
        "A step is what one thread does without anybody being able to come in between. A function has as many steps as there "
        "are moments at which others could see it half done.", ("steps",),
    ),
    Term(
        "state", MACHINE,
        "A state is all of the machine at one moment: every number, every lock, and where each thread stands.", ("states",),
    ),
    Term(
        "interleaving", MACHINE,
        "An interleaving is one order of the steps of all threads. Two threads of ten steps have 184,756 of them. Many lead "
        "through the same states, so a search looks at each state once.", ("interleavings",),
    ),
    Term(
        "race", MACHINE,
        "A race is a fault that shows in some interleavings only: most runs go well.", ("races",),
    ),
    Term(
        "search", MACHINE,
        "A search visits every state that can be reached, by every step of every thread. It does not try at random: when it "
        "ends, nothing was left out.", ("searches", "searched"),
    ),
    Term(
        "rule", MACHINE,
        "A rule is what must be true at certain moments, such as: a device's access finds what a CPU's would have found. "
        "`secondsight list rules` has them.", ("rules",),
    ),
    Term(
        "as-if-cpu", MACHINE,
        "as-if-cpu is the rule that everything hangs on: a device's access behaves as if it were a CPU's access to the same "
        "address. Same value, same failure, same races.",
    ),
    Term(
        "use after free", MACHINE,
        "A use after free is the use of memory that was given back. It may belong to somebody else by then.", ("no-use-after-free",),
    ),
    Term(
        "deadlock", MACHINE,
        "In a deadlock nobody can go on, although somebody has not ended: each waits for another.", ("deadlocks",),
    ),
    Term(
        "livelock", MACHINE,
        "In a livelock threads go on for ever and never come to an end, although each has its turns.", ("livelocks",),
    ),
    Term(
        "adversary", MACHINE,
        "An adversary is a small program that does something to the process's memory while the device works: unmaps it, punches"
        " a hole, exits.", ("adversaries",),
    ),
    Term(
        "holds", MACHINE,
        "Holds is the verdict of a search that has visited every state and found no rule broken. It is said for the machine "
        "that was searched: so many pages, threads and operations.",
    ),
    Term(
        "broken", MACHINE,
        "Broken is the verdict of a search that found a state in which a rule does not hold. A trace shows the way there.",
    ),
    Term(
        "not finished", MACHINE,
        "Not finished is the verdict of a search that reached a limit of time, states or memory. It says nothing about what was"
        " not visited.",
    ),
    Term(
        "trace", MACHINE,
        "A trace is a shortest way to a broken rule, step by step, in one column for each thread. It is read downwards. It is "
        "replayed before it is shown.", ("traces",),
    ),
    Term(
        "token", MACHINE,
        "A token is a trace in a dozen characters. Whoever has the driver and the token can run the same steps again.", ("tokens",),
    ),
    Term(
        "table", MACHINE,
        "A table settles a question of a mail thread. Its rows are alternatives, such as designs of a driver. Its columns are "
        "what happens meanwhile, or what is demanded. Each cell is a search.", ("tables",),
    ),
    Term(
        "finding", MACHINE,
        "A finding is a claim that was made in a mail thread, and what a table says to it: it stands, or it falls.", ("findings",),
    ),
    Term(
        "bound", MACHINE,
        "A bound is how much of something the machine has: frames, pages, processes. A search that runs out of one says so and "
        "is made again with more.", ("bounds",),
    ),
    Term(
        "kept result", MACHINE,
        "A kept result is that of an earlier search, of which nothing has changed since: no driver, no model, no limit. It is shown "
        "again at once, marked *kept*. With --again it is searched anew.",
    ),
    Term(
        "reduction", MACHINE,
        "A reduction leaves out states that can show nothing new, such as those in which two records have only changed places. "
        "Verdicts are the same.", ("reductions", "reduced"),
    ),
    Term(
        "scenario", MACHINE,
        "A scenario is a small program of one or more processes: what is set up, what its threads do, what is looked at in the "
        "end. The model and a real kernel both run it.", ("scenarios",),
    ),
    Term(
        "outcome", MACHINE,
        "An outcome is what a run of a scenario shows in the end: the results that it gave names to.", ("outcomes",),
    ),
    Term(
        "hold point", MACHINE,
        "A hold point is a place in the code at which a thread can be held, on the model and on a real kernel, under one name.", ("hold points",),
    ),
    Term(
        "schedule", MACHINE,
        "A schedule is the order in which held threads are let go, and where each must come to rest.", ("schedules",),
    ),
    Term(
        "forced run", MACHINE,
        "A forced run follows a schedule on a real kernel, to see whether the kernel does as the model says.", ("forced runs", "forced"),
    ),
)  # fmt: skip
"""Every term, those of the kernel first."""


def terms_in(text: str) -> list[tuple[int, int, Term]]:
    """Where a text has terms: from, to, and which; each term once, where it comes first. A form within a longer one is none."""
    taken: list[tuple[int, int, Term]] = []
    forms = sorted(((form, term) for term in TERMS for form in (term.name, *term.forms)), key=lambda one: -len(one[0]))
    for form, term in forms:
        for match in re.finditer(rf"(?<![\w-]){re.escape(form)}(?![\w-])", text, re.IGNORECASE if form.islower() else 0):
            if all(match.end() <= start or end <= match.start() for start, end, _ in taken):
                taken.append((match.start(), match.end(), term))
    first: dict[str, tuple[int, int, Term]] = {}
    for one in sorted(taken, key=lambda one: one[0]):
        first.setdefault(one[2].name, one)
    return list(first.values())
