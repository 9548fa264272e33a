/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What secondsight.ko and the guest agent say to each other.
 *
 * A *session* is one open file of /dev/secondsight: the devices and the hold points of one run of a
 * scenario. The agent opens it and forks the process under test, which uses the same file. The agent
 * itself stays outside as the coordinator: on 6.1 a thread held in an invalidation owns the mmap lock
 * of its process, and a coordinator in the same process would stop at its next page fault.
 *
 * Numbers of hold points are those of scenario/holds.py (points.h is made from it), limits those of scenario/ops.py (limits.h).
 */
#ifndef SECONDSIGHT_H
#define SECONDSIGHT_H

#include <linux/ioctl.h>
#include <linux/types.h>

#include "limits.h"

#define SS_DEVICE "/dev/secondsight"
#define SS_TOKEN "secondsight.guest=1" /* on the command line of a machine that the tool started */
#define SS_DAX "secondsight.dax=" /* there too: where memory is that is a device's, with a file */
#define SS_DAX_BYTES (4UL << 20)
#define SS_CMA_BYTES "secondsight.cma=" /* there too: how large the area of contiguous memory is */
#define SS_COHERENT "secondsight.coherent=" /* there too: where memory is that is no System RAM, for mirrors with coherent memory */
enum { SS_COHERENT_SLOTS = 8 }; /* of 2 MiB each: one for each of the machine's mirrors at a time */

#define SS_SWAP_NAME "secondsight-swap" /* the swap device */
enum {
	SS_SWAP_PAGES = 8192, /* of which huge pages that are swapped whole take 512 each; no more than half may be full (vm_swap_full()) */
	SS_SECTOR = 512,
	SS_SECTORS = 256, /* behind these pages: each begins with the character of its number, for direct I/O to read */
};

enum {
	SS_WINDOW_SHIFT = 24, /* of the window of a handle */
	SS_HUGE_SHIFT = 20, /* of a page of the scenario where two are a huge page; of it the first PAGE_SIZE bytes are used */
};
#define SS_WINDOWS 0x200000000000ull

/* Where a thread is: the number of a hold point, or one of these. */
enum {
	SS_RUNNING = 0, /* not settled */
	SS_BLOCKED = 64, /* asleep in the kernel, and not in a hold */
	SS_ENDED = 65,
	SS_OP = 256, /* + N: before operation N of the thread */
};

struct ss_arm {
	__u64 points; /* bit N: hold point N */
	__u32 threads;
	__u32 hold_ms; /* the longest hold */
};

struct ss_settle {
	__s32 release; /* a thread to let go first, or -1 */
	__u32 timeout_ms;
	__u32 settled; /* whether every thread is held, blocked or ended */
	__u32 where[SS_MAX_THREADS];
	__u32 timed_out; /* holds that were given up, so far */
};

struct ss_mirror_open {
	__u32 handle;
	__u32 page_shift; /* of a page of the scenario: PAGE_SHIFT or SS_HUGE_SHIFT */
	__u32 later; /* it subscribes when SS_MIRROR_SUBSCRIBE says so */
	char variant[24];
};

/* An access through a device. The value of a page is its first byte. */
struct ss_access {
	__u64 addr; /* of a mirror: a user address; of a pin or an attachment: a page's number */
	__u32 handle;
	__u32 write;
	__u32 value; /* in: to be stored; out: loaded, SS_TORN when bytes behind the first of a half page are not zero */
	__u32 begun; /* out: how often the fault handler began (mmu_interval_read_begin) */
	__u32 half; /* in: of a pin or a mirror: the second half of the page */
	__u32 late; /* out: what a late dereference touched: an ss_probe value, or 0 when there was none */
};
enum { SS_TORN = 256 };

/* What a device's table has at an address, against the CPU's table. */
enum {
	SS_PROBE_NONE = 1,
	SS_PROBE_SAME = 2, /* the frame that the CPU's table has there */
	SS_PROBE_OTHER = 3, /* another one, or one where the CPU's table has none */
	SS_PROBE_WRITABLE = 16, /* added when the device may write */
};

struct ss_probe {
	__u64 addr;
	__u32 handle;
	__u32 found;
};

struct ss_pin {
	__u64 addr;
	__u32 handle;
	__u32 pages;
	__u32 longterm;
	__u32 write;
	__u32 page_shift; /* as in struct ss_mirror_open */
	__u32 locked; /* under the mmap lock from the beginning */
	__u32 unused;
};

struct ss_attach {
	__u32 handle;
	__s32 fd;
};

/* What becomes of a buffer: in the place of the handle, for SS_BUFFER_CHANGE. */
enum { SS_MOVE = 1, SS_REVOKE = 2, SS_RESTORE = 3 };

struct ss_hook {
	char function[64];
};

/* Type 0 would give FIBMAP and FIGETBSZ, which never reach a driver. */
#define SS_ARM _IOW('S', 1, struct ss_arm)
#define SS_SETTLE _IOWR('S', 2, struct ss_settle)
#define SS_FREE _IO('S', 3) /* holds nobody any longer */
#define SS_HOOK _IOW('S', 4, struct ss_hook)
#define SS_THREAD _IO('S', 8) /* the caller is the scenario's thread of that number */
#define SS_BEFORE _IO('S', 9) /* the caller comes to its operation of that number */
#define SS_END _IO('S', 10) /* the caller has done all its operations; returns when all are free */
#define SS_EXITS _IO('S', 11) /* the caller ends its process now: it has ended when that has */
#define SS_MIRROR_OPEN _IOW('S', 16, struct ss_mirror_open)
#define SS_MIRROR_ACCESS _IOWR('S', 17, struct ss_access)
#define SS_MIRROR_SNAPSHOT _IOWR('S', 18, struct ss_access)
#define SS_MIRROR_CLOSE _IO('S', 19)
#define SS_MIRROR_PROBE _IOWR('S', 20, struct ss_probe)
#define SS_MIRROR_EXCLUSIVE _IOWR('S', 21, struct ss_access)
#define SS_MIRROR_MIGRATE _IOWR('S', 22, struct ss_access) /* value: in: how many pages; out: how many have come */
#define SS_MIRROR_EVICT _IOWR('S', 23, struct ss_access) /* value: out: how many have gone */
#define SS_PIN _IOW('S', 24, struct ss_pin)
#define SS_PIN_ACCESS _IOWR('S', 25, struct ss_access)
#define SS_UNPIN _IO('S', 26)
#define SS_WATCH _IOW('S', 27, struct ss_mirror_open)
#define SS_WATCH_TOLD _IOWR('S', 28, struct ss_access)
#define SS_ATTACH _IOW('S', 32, struct ss_attach)
#define SS_MAP _IO('S', 33)
#define SS_UNMAP _IO('S', 34)
#define SS_IMPORTER_READ _IOWR('S', 35, struct ss_access)
#define SS_DETACH _IO('S', 36)
#define SS_VMAP_READ _IOWR('S', 37, struct ss_access) /* handle: a dma-buf's descriptor */
#define SS_BUFFER _IO('S', 40) /* returns a file descriptor */
#define SS_BUFFER_CHANGE _IOW('S', 41, struct ss_attach)
#define SS_WORKER_ATTACH _IOW('S', 42, struct ss_attach)
#define SS_WORKER_JOB _IOWR('S', 43, struct ss_access)
#define SS_CMA _IO('S', 44) /* 1: allocate the area of contiguous memory; 0: give it back */
#define SS_MAKE_EXCLUSIVE _IOW('S', 45, struct ss_access) /* some other device takes a page for itself, and is done with it */
#define SS_MIRROR_SUBSCRIBE _IO('S', 46) /* to the address space of the process that made the mirror, whoever asks */
#define SS_MIRROR_RESET _IOWR('S', 47, struct ss_access)

#endif
