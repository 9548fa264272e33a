/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A mirror: what its files share. mirror.c has the device's table and the calls, drivers.c the forms of its driver,
 * exclusive.c device-exclusive access, private.c memory of its own, probe.c what the CPU's table says to all that.
 */
#ifndef SS_MIRROR_H
#define SS_MIRROR_H

#include <linux/mm.h>
#include <linux/mmu_notifier.h>

#include "compat.h"
#include "session.h"

#define SS_ENTRIES (SS_MAX_HANDLES * SS_WINDOW_PAGES)
#define SS_DEVICE_FAULT 1 /* the device's table does not allow the access */

struct ss_entry {
	unsigned long pfn;
	struct page *kept; /* of wrong drivers: their reference */
	bool present;
	bool writable;
	bool alone; /* no CPU can reach the page: the device may read, modify and write it */
};

struct ss_memory;
struct ss_mirror;

struct ss_driver {
	const char *name;
	int (*fault)(struct ss_mirror *mirror, unsigned long addr, bool write, struct ss_access *access);
	bool (*invalidate)(struct ss_mirror *mirror, const struct mmu_notifier_range *range, unsigned long seq);
	int (*reset)(struct ss_mirror *mirror, struct ss_access *access);
	void (*stop)(struct ss_mirror *mirror); /* what its close does before it unsubscribes, instead of what others do */
	bool keeps; /* a reference for each entry */
	bool restores; /* its table when it was reset, whatever was invalidated meanwhile */
	bool unmarked; /* says of no page that it has been written to */
	bool gives_back; /* a page to the CPU, before it asks to have it alone */
	bool coherent; /* its memory is such as CPUs can reach too */
};

struct ss_mirror {
	struct mmu_interval_notifier notifier;
	struct ss_session *session;
	struct mm_struct *mm;
	const struct ss_driver *driver;
	struct mutex lock;
	spinlock_t hardware;
	u32 page_shift;
	bool subscribed;
	bool closed; /* the device does nothing any more, and nothing is mapped */
	bool stopped; /* the device does nothing until its driver lets it go on */
	bool refuses; /* of drivers with a stop of their own, under the lock: nothing is mapped any more */
	struct ss_memory *memory; /* private.c */
	struct ss_entry entries[SS_ENTRIES];
	struct ss_entry saved[SS_ENTRIES]; /* while it is reset */
};

#define SS_PRIVATE_PAGES 2 /* PrivateGpu.bounds */

/* mirror.c: an address's entry, or NULL for one that is in no window; stores to the table, one step each */
struct ss_entry *ss_entry_of(struct ss_mirror *mirror, unsigned long addr);
void ss_table_map(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn, bool write, struct page *kept);
void ss_table_unmap(struct ss_mirror *mirror, unsigned long start, unsigned long end);

/* mirror.c: the device stops, and loses its table, which is saved; what was saved is mapped again, to be read; or is given back; the device goes on. One step each. */
void ss_table_save(struct ss_mirror *mirror);
void ss_table_restore(struct ss_mirror *mirror);
void ss_table_forget(struct ss_mirror *mirror);
void ss_device_goes_on(struct ss_mirror *mirror);

/* mirror.c: the mirror of a handle, or NULL */
struct ss_mirror *ss_mirror_of(struct ss_session *session, u32 handle);

/* drivers.c: a form of the driver by its name, or NULL; what every form begins with, and its lock */
const struct ss_driver *ss_driver_of(const char *name, size_t size);
unsigned long ss_read_begin(struct ss_mirror *mirror, struct ss_access *access);
void ss_driver_lock(struct ss_mirror *mirror);

/* private.c: one page comes back; before and after the mirror is unsubscribed; the page in which a device's page has its contents */
int ss_bring_back(struct ss_mirror *mirror, unsigned long addr);
void ss_memory_empties(struct ss_mirror *mirror);
void ss_memory_goes(struct ss_mirror *mirror);
void ss_memory_free(struct ss_mirror *mirror);

/* probe.c: what a frame is to the CPU's table at @addr: the frame there, another, or @if_none when there is none */
u32 ss_against_cpu(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn, u32 if_none);

#endif
