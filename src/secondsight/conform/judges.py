"""The files of `linux/` that are not run beside the kernel's own: who judges each, and what a conformer of it would take.

`agreement`: what scenarios do on real kernels must be among what the model does (`agree/`). `neither`: nothing but reading
and the tests here. Numbers of outside symbols are those of Linux 6.12, counted by compiling the file for user space.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["WITHOUT", "JudgeName"]

JudgeName = Literal["agreement", "neither"]

WITHOUT: Final[dict[str, tuple[JudgeName, str]]] = {
    "bio.py": (
        "agreement",
        "block/bio.c is of the block layer, whose requests, queues and disks have no counterpart; what is modelled is which pages are pinned and when",
    ),
    "completion.py": (
        "neither",
        "kernel/sched/completion.c: what is modelled is a number and a wait for it; the file's queues (swait) and timeouts have no counterpart",
    ),
    "dax.py": (
        "agreement",
        "drivers/dax/device.c (36 outside symbols) and super.c (41) run removal and faults against each other under dax_read_lock() (SRCU, "
        "which has a stub); needed are a device of the dax bus, its inode and cdev, and unmap_mapping_range() as a place",
    ),
    "dma_iommu.py": (
        "neither",
        "drivers/iommu/dma-iommu.c calls the IOMMU's driver, whose hardware has no counterpart in user space; a conformer would have the flush queue with its lock and "
        "its timer as a place, and the allocator of numbers (drivers/iommu/iova.c) as it is",
    ),
    "device.py": ("neither", "stands for hardware, which no file of the kernel's is"),
    "compaction.py": ("agreement", "mm/compaction.c scans zones by frame numbers, of which the model has none that mean anything; guests compact memory, and any page may move"),
    "cma.py": ("neither", "mm/cma.c (a bitmap of areas) is one line here; what is modelled is alloc_contig_range() of mm/page_alloc.c (172 outside symbols)"),
    "errno.py": ("neither", "numbers and names alone; a conformer that compares results compares them too"),
    "exit.py": ("agreement", "kernel/exit.c (142 outside symbols): three lines of exit_mm() are modelled"),
    "fault.py": (
        "agreement",
        "arch/x86/mm/fault.c: the exception entry and the hardware's own walk have no counterpart in user space; what is modelled is the "
        "mmap lock around handle_mm_fault(), and a step of the CPU",
    ),
    "fork.py": ("agreement", "kernel/fork.c (274 outside symbols): modelled are the slab of vmas, and an mm's first user"),
    "ext4_inode.py": (
        "agreement",
        "fs/ext4/inode.c and mm/filemap.c (the page cache's tree is linked for mm/memfd.c already): a conformer needs the journal, buffers and the block layer as places; guests have a small ext4 without a "
        "journal on persistent memory, and the scenario's files in a folder of it that is not dax: each operation is a plain system call (mmap, msync, fsync, posix_fadvise, fallocate, pread)",
    ),
    "fs_dax.py": (
        "agreement",
        "fs/dax.c and fs/ext4/inode.c: guests have a small ext4 on persistent memory, mounted with dax=always, and the scenario's files in it; a conformer of fs/dax.c "
        "would have the page cache's tree (linked for mm/memfd.c already) and unmap_mapping_range() as a place",
    ),
    "highmem.py": ("agreement", "inline functions of a header: a page's contents are two characters here"),
    "huge_memory.py": (
        "agreement",
        "mm/huge_memory.c: a split and a zap need two levels of real page tables (mm/hmm.c's conformer has them), deposited page tables and rmap as stubs; "
        "what one entry maps is seen on booted kernels by PAGEMAP_SCAN",
    ),
    "huge_memory_pmd.py": ("agreement", "functions of mm/huge_memory.c: as huge_memory.py"),
    "huge_memory_split.py": (
        "agreement",
        "mm/huge_memory.c: split_huge_page_to_list_to_order() needs what huge_memory.py needs, and the page cache's tree; move_pages(2) and "
        "MADV_PAGEOUT split in guests",
    ),
    "hugetlb.py": (
        "agreement",
        "mm/hugetlb.c and fs/hugetlbfs/inode.c (holes, truncation and fallocate() too): needed are the page cache's tree (linked for mm/memfd.c already), the file's interval tree, the pool and its "
        "reservations, and huge page tables",
    ),
    "hugetlb_vma_lock.py": ("agreement", "mm/hugetlb.c: a semaphore for each vma; forced runs on booted kernels settle at the places where it is waited for"),
    "khugepaged.py": (
        "agreement",
        "mm/khugepaged.c: collapse_huge_page() needs what huge_memory.py needs, and the LRU lists as stubs",
    ),
    "mmu_notifier_2011.py": ("neither", "mm/mmu_notifier.c of Linux 3.2, a release that is packaged no more"),
    "hmm_2019.py": ("neither", "mm/hmm.c of Linux 5.3, a release that is packaged no more"),
    "kref.py": ("neither", "inline functions of a header; what lib/refcount.c warns of is a rule here"),
    "memory_hotplug.py": (
        "agreement",
        "mm/memory_hotplug.c: offline_pages() needs sections, zones and the buddy lists as the kernel has them; a guest has a memory module of one "
        "block, which is taken offline",
    ),
    "mmu_notifier_end.py": (
        "neither",
        "mm/mmu_notifier.c as it was before 319561669a59; what it does now is compared (mmu_notifier.py)",
    ),
    "mmu_gather.py": (
        "neither",
        "mm/mmu_gather.c: that page tables outlive walks rests on interrupts of other CPUs, of which user space has none",
    ),
    "gup_devmap.py": (
        "neither",
        "mm/gup.c: as gup.py; a guest's device memory has small entries (its 4 MiB lie in a section with RAM, so that their struct pages stay), and that an entry spans two pagemaps "
        "no kernel lets happen",
    ),
    "huge_memory_devmap.py": ("neither", "mm/huge_memory.c: as gup_devmap.py"),
    "sparse.py": (
        "neither",
        "mm/sparse.c: who adds memory is a driver at boot; a conformer would have the vmemmap's page tables as stubs (populate_section_memmap(), depopulate_section_memmap()), and "
        "mm/memory_hotplug.c's __add_pages() beside it",
    ),
    "ww_mutex.py": (
        "neither",
        "kernel/locking/mutex.c and ww_mutex.h: a conformer would have the owner word, the wait list under its spinlock, schedule() and wake-ups as places; "
        "nothing that user space can do on a udmabuf takes two reservation locks",
    ),
    "mmzone.py": ("agreement", "inline functions of headers, which have no file to compile"),
    "page_isolation.py": ("agreement", "mm/page_isolation.c works on pageblocks' bits and the buddy lists, of which the model has one block and a stack"),
    "util.py": (
        "neither",
        "mm/util.c: __account_locked_vm() is ten lines that compare and add; a conformer of it would take an mm, a task and its rlimit",
    ),
    "mremap.py": (
        "agreement",
        "mm/mremap.c (70 outside symbols): move_ptes() needs real page tables (as mm/hmm.c's conformer has) and locks of file and anon_vma as places; "
        "copy_vma() is mm/vma.c's and needs the maple tree",
    ),
    "mremap_tables.py": ("agreement", "mm/mremap.c: as mremap.py"),
    "mremap_in_place.py": ("agreement", "mm/mremap.c: as mremap.py"),
    "mremap_resized.py": ("agreement", "mm/mremap.c: as mremap.py"),
    "vma_lock.py": ("agreement", "inline functions of include/linux/mm.h, which have no file to compile; forced runs see who waits for whom"),
    "mm_userfaultfd.py": (
        "agreement",
        "mm/userfaultfd.c: mfill_atomic() needs real page tables (as mm/hmm.c's conformer has), a vma's lock and the page cache; the file is kept for it",
    ),
    "madvise.py": ("agreement", "mm/madvise.c (97 outside symbols): the walk over vmas needs the maple tree of mm/mmap.c and zap_page_range_single() as a place"),
    "madvise_fork.py": ("agreement", "mm/madvise.c: as madvise.py"),
    "madvise_free.py": ("agreement", "mm/madvise.c: as madvise.py"),
    "madvise_populate.py": ("agreement", "mm/madvise.c: as madvise.py"),
    "madvise_remove.py": ("agreement", "mm/madvise.c: as madvise.py"),
    "migrate_device_range.py": (
        "agreement",
        "mm/migrate_device.c: migrate_device_range() needs try_to_migrate() in the file's conformer, for what is mapped still; on kernels a driver empties its memory by it",
    ),
    "mm_flags.py": ("neither", "numbers alone"),
    "mm_types.py": ("neither", "records and no functions; every conformer's look at the state compares the fields that its file uses"),
    "mmap.py": ("agreement", "mm/mmap.c (135 outside symbols) with the maple tree, a file of 7,700 lines"),
    "oom_kill.py": ("agreement", "mm/oom_kill.c (120 outside symbols): the reaper's walk needs the maple tree and mm/memory.c's unmap_page_range() as a place"),
    "page_alloc.py": (
        "neither",
        "mm/page_alloc.c (172 outside symbols): the model's free list is a stack, meant to make a freed frame somebody else's at once; the "
        "kernel's order is another and no interface",
    ),
    "page_alloc_slowpath.py": (
        "neither",
        "mm/page_alloc.c: as page_alloc.py; what is modelled is who reclaims, with which locks held. A kernel whose lockdep is on says the same of each allocation "
        "(fs_reclaim_acquire()), whether memory is short or not: the drivers in devices/small/allocating.py, rendered to C, would be asked there",
    ),
    "pgtable.py": (
        "agreement",
        "inline functions of headers, which have no file to compile; the real ones look at the page tables of mm/hmm.c's conformer",
    ),
    "releases.py": ("agreement", "a table of what differs between releases, each line seen on booted kernels"),
    "sched_mm.py": ("agreement", "inline functions of a header, and a few lines of kernel/fork.c (274 outside symbols): modelled is the count mm_users"),
    "shmem.py": (
        "agreement",
        "mm/shmem.c (267 outside symbols): the punch, the fault's wait for it, shmem_setattr() and fallocate() need the page cache's tree, truncation "
        "(mm/truncate.c, 43) and unmap_mapping_range() as places; quotas and huge pages as stubs; "
        "swap, by scenarios with MADV_PAGEOUT on kernels",
    ),
    "shmem_size.py": ("agreement", "functions of mm/shmem.c: as shmem.py"),
    "srcutree.py": (
        "agreement",
        "kernel/rcu/srcutree.c: grace periods run in work queues and count on every CPU; where mm/mmu_notifier.c calls it, its conformer has "
        "a stub of our own with the same two counters",
    ),
    "userfaultfd_ioctl.py": ("agreement", "the system calls of the same file: they need the maple tree and vma_modify_flags_uffd() as places"),
    "vma.py": ("agreement", "mm/vma.c (60 outside symbols) with the maple tree; the model keeps a vma by page instead"),
    "filemap.py": (
        "neither",
        "mm/filemap.c (163 outside symbols): of it the folio lock alone is modelled, one bit and who waits for it; mm/hmm.c's "
        "conformer has no folios",
    ),
    "mm.py": ("agreement", "inline functions of headers, which have no file to compile"),
    "mprotect.py": (
        "agreement",
        "mm/mprotect.c (81 outside symbols): change_pte_range() needs real page tables (as mm/hmm.c's conformer has), and "
        "mprotect_fixup() the maple tree",
    ),
    "mempolicy.py": (
        "neither",
        "mm/mempolicy.c and mm/mprotect.c: change_pte_range() needs real page tables (as mm/hmm.c's conformer has). No system call makes NUMA balancing look at a page: a kernel "
        "does it when it likes, and guests are booted without",
    ),
    "memory_numa.py": ("neither", "functions of mm/memory.c, as memory_swap.py; what leads there is in mempolicy.py"),
    "workqueue.py": ("neither", "kernel/workqueue.c: of it one work of one thread is modelled; the rest of the file is about which thread takes it (read line by line)"),
    "task_mmu.py": ("agreement", "fs/proc/task_mmu.c: of it one bracket and one walk are modelled, which need real page tables (as mm/hmm.c's conformer has)"),
    "page_writeback.py": (
        "agreement",
        "mm/page-writeback.c (121 outside symbols): of it one flag is modelled, who clears it, and the end of a write",
    ),
    "hugetlb_private.py": (
        "agreement",
        "mm/hugetlb.c: as hugetlb.py, with rmap and a reservation map for each mapping as stubs; copies, forks and holes of private mappings show in guests",
    ),
    "hugetlb_resv.py": ("agreement", "mm/hugetlb.c: as hugetlb_pool.py"),
    "hugetlb_pool.py": ("agreement", "mm/hugetlb.c: as hugetlb.py; what a pool has reserved shows in guests as errors of mmap(2) and as SIGBUS"),
    "mlock.py": ("agreement", "mm/mlock.c: apply_vma_lock_flags() needs the maple tree and mlock_fixup() vma_modify_flags() as a place"),
    "mm_userfaultfd_move.py": ("agreement", "mm/userfaultfd.c: as mm_userfaultfd.py; move_pages() locks two vmas, two page tables and an anon_vma"),
    "tlb.py": ("agreement", "arch/x86/mm/tlb.c and mm/mmu_gather.c: what is modelled is which CPU may still use an entry; interrupts have no counterpart in user space"),
    "msync.py": ("agreement", "mm/msync.c: a loop over vmas, which needs the maple tree; guests have files on a disk, as ext4_inode.py says"),
    "rmap_exclusive.py": (
        "agreement",
        "mm/rmap.c: make_device_exclusive_range() needs mm/gup.c (80 outside symbols) as a place in the file's conformer. The kernel's hmm-tests and "
        "scenarios/hmm_tests.py run it",
    ),
    "swap.py": (
        "agreement",
        "mm/swap.c (71 outside symbols): of it one flag is modelled, that somebody has taken the folio off the lists",
    ),
    "swap_state.py": (
        "agreement",
        "mm/swap_state.c (68 outside symbols) and mm/swapfile.c (157): the swap cache needs the page cache's tree (linked for "
        "mm/memfd.c already) and swap_map as plain memory",
    ),
    "swapops.py": (
        "neither",
        "inline functions of headers, which have no file to compile",
    ),
    "vmscan.py": (
        "agreement",
        "mm/vmscan.c (243 outside symbols): shrink_folio_list() alone, with try_to_unmap(), pageout() and the swap cache as "
        "places, would be the part to take",
    ),
    "vmscan_direct.py": (
        "neither",
        "mm/vmscan.c: as vmscan.py; which page an allocation reclaims cannot be asked for in a guest, and a control group's limit (memory.max) makes it likely, not certain",
    ),
    "vmscan_lists.py": ("agreement", "mm/vmscan.c: as vmscan.py; guests want a cgroup's memory back (memory.reclaim), and any page may go"),
}
"""By file of `linux/`: the judge that it has, and why it has no conformer."""
