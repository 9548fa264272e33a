/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One session: the threads of a run and where they are held, and the devices that they use.
 */
#ifndef SS_SESSION_H
#define SS_SESSION_H

#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "points.h"
#include "secondsight.h"

struct ss_collecting;
struct ss_mirror;
struct ss_pinned;
struct ss_importer;
struct ss_worker;
struct ss_watch;

/*
 * A thread of the scenario. @point, @op and @ended are written under the session's lock.
 *
 * @point: the hold point where it is held, 0 when it runs
 * @op: the number of the operation it is before or in
 * @ended: it has done all its operations
 * @exits: it ends its process, and has ended when the process's memory is gone
 * @waits: it is about to sleep for something that only another thread of the scenario can give, and
 *	   that wakes it directly
 * @passes: the function that it is about to enter by a hook's own call
 * @collecting: what its driver is collecting by hmm_range_fault(), of which it takes a reference before a hold at that
 *		function's exit
 */
struct ss_thread {
	struct task_struct *task;
	wait_queue_head_t go;
	int point;
	u32 op;
	bool ended;
	bool exits;
	bool waits;
	unsigned long passes;
	struct ss_collecting *collecting;
};

struct ss_session {
	spinlock_t lock;
	wait_queue_head_t moved;
	unsigned int moves; /* how often a thread has come to a hold or ended */
	u64 points;
	u32 threads;
	unsigned long hold_jiffies;
	bool free; /* nobody is held any longer */
	u32 timed_out;
	struct mm_struct *coordinator; /* to be compared only */
	struct ss_thread thread[SS_MAX_THREADS];

	struct mutex devices; /* the arrays */
	struct ss_mirror *mirror[SS_MAX_HANDLES];
	struct ss_pinned *pinned[SS_MAX_HANDLES];
	struct ss_importer *importer[SS_MAX_HANDLES];
	struct ss_worker *worker[SS_MAX_HANDLES];
	struct ss_watch *watch;
};

/* hold.c */
void ss_session_init(struct ss_session *session);
void ss_session_free(struct ss_session *session);
void ss_session_end(struct ss_session *session);
long ss_arm(struct ss_session *session, const struct ss_arm *arm);
long ss_settle(struct ss_session *session, struct ss_settle *settle);
long ss_thread(struct ss_session *session, unsigned long number);
long ss_before(struct ss_session *session, unsigned long op);
long ss_end(struct ss_session *session);
long ss_exits(struct ss_session *session);

/* Hold the calling thread at a point, if it is a thread of the scenario and the point is armed. May sleep. */
void ss_hold(struct ss_session *session, int point);

/* Around a sleep that ends only by what another thread of the scenario does. */
void ss_waits(struct ss_session *session, bool waits);

/* The session whose threads are held, and the caller's place in it; NULL when it is no thread of a scenario. */
struct ss_thread *ss_current_thread(struct ss_session **session);

/* mirror.c, exclusive.c, private.c, probe.c, drivers.c */
long ss_mirror_open(struct ss_session *session, const struct ss_mirror_open *open);
long ss_mirror_access(struct ss_session *session, struct ss_access *access);
long ss_mirror_snapshot(struct ss_session *session, struct ss_access *access);
long ss_mirror_exclusive(struct ss_session *session, struct ss_access *access);
long ss_make_exclusive(struct ss_session *session, const struct ss_access *access);
long ss_mirror_migrate(struct ss_session *session, struct ss_access *access);
long ss_mirror_evict(struct ss_session *session, struct ss_access *access);
long ss_mirror_close(struct ss_session *session, unsigned long handle);
long ss_mirror_subscribe(struct ss_session *session, unsigned long handle);
long ss_mirror_reset(struct ss_session *session, struct ss_access *access);
long ss_mirror_probe(struct ss_session *session, struct ss_probe *probe);
void ss_mirror_free(struct ss_mirror *mirror);

/* hmm_range_fault() has returned to a thread, and is about to be held at its exit. */
void ss_collected(struct ss_thread *thread, unsigned long range, unsigned long ret);

/* watch.c */
long ss_watch_open(struct ss_session *session, const struct ss_mirror_open *open);
long ss_watch_told(struct ss_session *session, struct ss_access *access);
void ss_watch_free(struct ss_watch *watch);

/* pin.c */
long ss_pin(struct ss_session *session, const struct ss_pin *pin);
long ss_pin_access(struct ss_session *session, struct ss_access *access);
long ss_unpin(struct ss_session *session, unsigned long handle);
void ss_pinned_free(struct ss_pinned *pinned);

/* importer.c */
long ss_attach(struct ss_session *session, const struct ss_attach *attach, struct device *device);
long ss_map(struct ss_session *session, unsigned long handle);
long ss_unmap(struct ss_session *session, unsigned long handle);
long ss_importer_read(struct ss_session *session, struct ss_access *access);
long ss_detach(struct ss_session *session, unsigned long handle);
long ss_vmap_read(struct ss_access *access);
void ss_importer_free(struct ss_importer *importer);

/* buffer.c */
long ss_buffer_export(void);
long ss_buffer_change(const struct ss_attach *change);
long ss_worker_attach(struct ss_session *session, const struct ss_attach *attach, struct device *device);
long ss_worker_job(struct ss_session *session, struct ss_access *access);
bool ss_worker_close(struct ss_session *session, unsigned long handle);
void ss_worker_free(struct ss_worker *worker);

/* private.c: where a page's value is, of one that no CPU can reach */
struct page *ss_behind(struct page *page);

/* page.c */
u32 ss_page_load(struct page *page);
u32 ss_value_at(const unsigned char *at);
int ss_page_store(struct page *page, u32 value, bool half);
u32 ss_half_load(struct page *page);
int ss_pinned_store(struct page *page, u32 value, bool half); /* of one that is pinned */

/* hooks.c */
long ss_hook(struct ss_hook *hook);

/* main.c: where memory for coherent devices begins, and a device's with a file; 0: there is none */
extern unsigned long ss_coherent_start, ss_dax_start;

/* main.c: the size of the area of contiguous memory; 0: there is none */
extern unsigned long ss_cma_bytes;

/* cma.c */
long ss_cma(struct device *device, unsigned long allocates);

/* dax.c: where a page of the latter is; NULL: it is another's */
void ss_dax_init(void);
unsigned char *ss_in_dax(struct page *page);

/* swap.c: the swap device */
int ss_swap_init(void);

#endif
