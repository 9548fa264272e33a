/*
 * What a file of the kernel's calls and no conformer has a reason to look into: locks, waits, SRCU, memory. Each place where
 * a thread may have to wait, or where another may come in between, is a stop. Compiled with the kernel's headers; every
 * symbol is weak, so that a conformer's own takes its place.
 *
 * One CPU, no preemption but at the stops, no time: nothing here is ever contended within a step.
 */
#include <linux/bug.h>
#include <linux/jump_label.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/version.h>
#include <linux/wait.h>

#include "conform.h"

#define WEAK __attribute__((weak))

/* A variable of the kernel's whose contents nothing here depends on, whatever its type is in this release. */
#define ZEROES(name, size) \
	asm(".pushsection ss_data,\"aw\"\n.balign 64\n.weak " #name "\n" #name ": .zero " #size "\n.popsection")

/* The CPU's own variables: with a GS base of 0 they lie where they are. */

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
WEAK struct task_struct *current_task;
asm(".weak const_current_task\n.set const_current_task, current_task");
WEAK int __preempt_count;
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
struct pcpu_hot pcpu_hot;
asm(".globl const_pcpu_hot\n.set const_pcpu_hot, pcpu_hot");
#else
WEAK struct task_struct *current_task;
WEAK int __preempt_count;
#endif

/* Warnings: the trap is looked up in the table that the kernel's own handler looks it up in. */

extern struct bug_entry __start___bug_table[] WEAK, __stop___bug_table[] WEAK;

int ss_is_warning(unsigned long address, int *length)
{
	struct bug_entry *bug;

	for (bug = __start___bug_table; bug < __stop___bug_table; bug++)
		if ((unsigned long)&bug->bug_addr_disp + bug->bug_addr_disp == address) {
			*length = 2;
			return bug->flags & BUGFLAG_WARNING ? 1 : -1;
		}
	return -2;
}

/* Spinlocks. */

static int spin_is_free(void *lock) { return atomic_read(&((raw_spinlock_t *)lock)->raw_lock.val) == 0; }

static void give_back(raw_spinlock_t *lock, const void *from)
{
	if (spin_is_free(lock))
		ss_die("a spinlock that nobody holds is given back", from);
	atomic_set(&lock->raw_lock.val, 0);
}

WEAK void __lockfunc _raw_spin_lock(raw_spinlock_t *lock)
{
	ss_stop("spin_lock", SS_FROM, spin_is_free, lock);
	atomic_set(&lock->raw_lock.val, 1);
}

WEAK void __lockfunc _raw_spin_unlock(raw_spinlock_t *lock) { give_back(lock, SS_FROM); }
WEAK unsigned long __lockfunc _raw_spin_lock_irqsave(raw_spinlock_t *lock)
{
	ss_stop("spin_lock", SS_FROM, spin_is_free, lock);
	atomic_set(&lock->raw_lock.val, 1);
	return 0;
}
WEAK void __lockfunc _raw_spin_unlock_irqrestore(raw_spinlock_t *lock, unsigned long flags) { give_back(lock, SS_FROM); }
WEAK void __lockfunc _raw_spin_lock_irq(raw_spinlock_t *lock)
{
	ss_stop("spin_lock", SS_FROM, spin_is_free, lock);
	atomic_set(&lock->raw_lock.val, 1);
}
WEAK void __lockfunc _raw_spin_unlock_irq(raw_spinlock_t *lock) { give_back(lock, SS_FROM); }

/* Mutexes. */

static int mutex_is_free(void *lock) { return atomic_long_read(&((struct mutex *)lock)->owner) == 0; }

#undef mutex_lock
WEAK void mutex_lock(struct mutex *lock)
{
	ss_stop("mutex_lock", SS_FROM, mutex_is_free, lock);
	atomic_long_set(&lock->owner, 1);
}
WEAK int mutex_trylock(struct mutex *lock)
{
	if (!mutex_is_free(lock))
		return 0;
	atomic_long_set(&lock->owner, 1);
	return 1;
}
WEAK void mutex_unlock(struct mutex *lock)
{
	ss_stop("mutex_unlock", SS_FROM, 0, 0);
	atomic_long_set(&lock->owner, 0);
}
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
WEAK void __mutex_init(struct mutex *lock, const char *name, struct lock_class_key *key) { atomic_long_set(&lock->owner, 0); }
#else
WEAK void mutex_init_generic(struct mutex *lock) { atomic_long_set(&lock->owner, 0); }
#endif

/*
 * Semaphores of readers and writers: the count is that of the readers, -1 a writer; the owner is how many writers stand in the
 * queue. As in rwsem.c and the model, a writer that comes to readers stands in the queue, and readers that come then wait.
 */

#define HELD(sem) (*(long *)&(sem)->count)
#define QUEUED(sem) (*(long *)&(sem)->owner)

static int no_writer(void *sem)
{
	long held = HELD((struct rw_semaphore *)sem);
	return held == 0 || (held > 0 && !QUEUED((struct rw_semaphore *)sem));
}
static int nobody(void *sem) { return HELD((struct rw_semaphore *)sem) == 0; }
static int not_written(void *sem) { return HELD((struct rw_semaphore *)sem) >= 0; }

#ifdef SS_WRITTEN_IS_A_PLACE /* where the model has a step between taking the lock and the next place */
#define WRITTEN() ss_stop("written", SS_FROM, 0, 0)
#else
#define WRITTEN() do { } while (0)
#endif

#define TAKE_FOR_WRITING(sem) do { \
	ss_stop("down_write", SS_FROM, not_written, sem); \
	if (HELD(sem)) { \
		QUEUED(sem)++; \
		ss_stop("down_write", SS_FROM, nobody, sem); \
		QUEUED(sem)--; \
	} \
	HELD(sem) = -1; \
	WRITTEN(); \
} while (0)

#undef down_read
#undef down_write
WEAK void down_read(struct rw_semaphore *sem)
{
	ss_stop("down_read", SS_FROM, no_writer, sem);
	HELD(sem)++;
}
WEAK void up_read(struct rw_semaphore *sem)
{
	ss_stop("up_read", SS_FROM, 0, 0);
	HELD(sem)--;
}
WEAK void down_write(struct rw_semaphore *sem) { TAKE_FOR_WRITING(sem); }
WEAK void up_write(struct rw_semaphore *sem)
{
	ss_stop("up_write", SS_FROM, 0, 0);
	HELD(sem) = 0;
}
WEAK int down_read_trylock(struct rw_semaphore *sem)
{
	if (HELD(sem) < 0 || QUEUED(sem))
		return 0;
	HELD(sem)++;
	return 1;
}
WEAK int down_write_trylock(struct rw_semaphore *sem)
{
	if (HELD(sem) || QUEUED(sem))
		return 0;
	HELD(sem) = -1;
	return 1;
}
WEAK void downgrade_write(struct rw_semaphore *sem) { HELD(sem) = 1; }
WEAK int down_write_killable(struct rw_semaphore *sem)
{
	TAKE_FOR_WRITING(sem);
	return 0;
}
WEAK int down_read_killable(struct rw_semaphore *sem)
{
	ss_stop("down_read", SS_FROM, no_writer, sem);
	HELD(sem)++;
	return 0;
}
WEAK void __init_rwsem(struct rw_semaphore *sem, const char *name, struct lock_class_key *key) { HELD(sem) = QUEUED(sem) = 0; }

/* Waiting: a thread sleeps until a wake-up of the queue that it is in, and then looks again. */

static struct sleeper {
	struct wait_queue_head *queue;
	int awake;
} sleeper[SS_THREADS];

static int is_awake(void *one) { return ((struct sleeper *)one)->awake; }

WEAK void __init_waitqueue_head(struct wait_queue_head *wq_head, const char *name, struct lock_class_key *key) { }
WEAK void init_wait_entry(struct wait_queue_entry *wq_entry, int flags) { }
WEAK long prepare_to_wait_event(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry, int state)
{
	sleeper[ss_self()].queue = wq_head;
	sleeper[ss_self()].awake = 0;
	return 0;
}
WEAK void prepare_to_wait(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry, int state)
{
	prepare_to_wait_event(wq_head, wq_entry, state);
}
WEAK void finish_wait(struct wait_queue_head *wq_head, struct wait_queue_entry *wq_entry) { sleeper[ss_self()].queue = 0; }
WEAK void schedule(void) { ss_stop("schedule", SS_FROM, is_awake, &sleeper[ss_self()]); }

static void wake(struct wait_queue_head *wq_head, int nr)
{
	int i;

	for (i = 0; i < SS_THREADS; i++)
		if (sleeper[i].queue == wq_head && !sleeper[i].awake) {
			sleeper[i].awake = 1;
			if (nr && !--nr)
				return;
		}
}

WEAK int __wake_up(struct wait_queue_head *wq_head, unsigned int mode, int nr, void *key)
{
	wake(wq_head, nr);
	return 0;
}

/* SRCU: readers in two generations, as kernel/rcu/srcutree.c has them. One domain for the file. */

static int srcu_index, srcu_readers[2], srcu_running;

static int srcu_can_begin(void *nothing) { return !srcu_running && srcu_readers[1 - srcu_index] == 0; }
static int srcu_can_end(void *old) { return srcu_readers[(long)old] == 0; }

WEAK int __srcu_read_lock(struct srcu_struct *ssp)
{
	ss_stop("srcu_read_lock", SS_FROM, 0, 0);
	srcu_readers[srcu_index]++;
	return srcu_index;
}
WEAK void __srcu_read_unlock(struct srcu_struct *ssp, int idx)
{
	ss_stop("srcu_read_unlock", SS_FROM, 0, 0);
	srcu_readers[idx]--;
}
WEAK void synchronize_srcu(struct srcu_struct *ssp)
{
	const void *from = SS_FROM;
	long old;

	ss_stop("srcu_begin", from, srcu_can_begin, 0);
	old = srcu_index;
	srcu_index = 1 - srcu_index;
	srcu_running = 1;
	ss_stop("srcu_end", from, srcu_can_end, (void *)old);
	srcu_running = 0;
}
WEAK void call_srcu(struct srcu_struct *ssp, struct rcu_head *head, rcu_callback_t func) { ss_die("call_srcu: no stub runs what it is given", SS_FROM); }

void ss_look_srcu(void)
{
	ss_text(" srcu=");
	ss_number(srcu_index);
	ss_text(":");
	ss_number(srcu_readers[0]);
	ss_text(":");
	ss_number(srcu_readers[1]);
}

WEAK void __rcu_read_lock(void) { }
WEAK void __rcu_read_unlock(void) { }
WEAK void synchronize_rcu(void) { ss_stop("synchronize_rcu", SS_FROM, 0, 0); }
WEAK void delayed_work_timer_fn(struct timer_list *t) { }

/* Memory. */

static void *allocate(size_t size) { return ss_alloc(size); }

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
WEAK void *__kmalloc_noprof(size_t size, gfp_t flags) { return allocate(size); }
WEAK void *__kmalloc_cache_noprof(struct kmem_cache *s, gfp_t flags, size_t size) { return allocate(size); }
#else
WEAK void *__kmalloc(size_t size, gfp_t flags) { return allocate(size); }
WEAK void *kmalloc_trace(struct kmem_cache *s, gfp_t flags, size_t size) { return allocate(size); }
#endif
WEAK void kfree(const void *object) { }
ZEROES(kmalloc_caches, 8192);

/* What only traces, accounts, or may sleep. */

WEAK asmlinkage __printf(1, 2) int _printk(const char *fmt, ...) { return 0; }
WEAK int __SCT__might_resched(void) { return 0; }
WEAK int __SCT__cond_resched(void) { return 0; }
WEAK void ss_warn_trap(void) asm("__SCT__WARN_trap");
WEAK void ss_warn_trap(void) { ss_warned(); }
WEAK void __mmdrop(struct mm_struct *mm) { }
WEAK void __mmap_lock_do_trace_start_locking(struct mm_struct *mm, bool write) { }
WEAK void __mmap_lock_do_trace_acquire_returned(struct mm_struct *mm, bool write, bool success) { }
WEAK void __mmap_lock_do_trace_released(struct mm_struct *mm, bool write) { }
WEAK struct tracepoint __tracepoint_mmap_lock_start_locking, __tracepoint_mmap_lock_acquire_returned, __tracepoint_mmap_lock_released;

/* Threads. */

static struct task_struct *task[SS_THREADS];

WEAK void ss_switch(int thread)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0) || LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	current_task = task[thread];
#else
	pcpu_hot.current_task = task[thread];
#endif
}

void ss_stubs_reset(void)
{
	int i;

	for (i = 0; i < SS_THREADS; i++)
		task[i] = ss_alloc(sizeof(struct task_struct));
	ss_switch(0); /* the world is made by somebody */
}
