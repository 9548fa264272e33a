/*
 * lib/percpu-refcount.c as it is, with who takes, drops, kills and waits for one count, and a look at its state. See
 * conform/targets/percpu_refcount.py, which has the same world in the model.
 */
#include SS_KERNEL_FILE

#include <linux/version.h>

#include "conform.h"

static struct percpu_ref *ref;
static int done, freed, confirmed, confirms;

static void release(struct percpu_ref *of) { done++; }
static void confirm(struct percpu_ref *of) { confirmed++; }

/* One CPU: its counter lies where it is. A grace period of RCU is over at once. */

unsigned long __per_cpu_offset[NR_CPUS];
struct cpumask __cpu_possible_mask;
unsigned int nr_cpu_ids = 1;

unsigned long _find_next_bit(const unsigned long *addr, unsigned long nbits, unsigned long start)
{
	while (start < nbits && !test_bit(start, addr))
		start++;
	return start;
}

void *ss_percpu(size_t size) asm("pcpu_alloc_noprof");
void *ss_percpu_older(size_t size) asm("__alloc_percpu_gfp");
void *ss_percpu(size_t size) { return ss_alloc(size); }
void *ss_percpu_older(size_t size) { return ss_alloc(size); }
void free_percpu(void *of) { freed++; }

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
void call_rcu_hurry(struct rcu_head *head, rcu_callback_t func) { func(head); }
#else
void call_rcu(struct rcu_head *head, rcu_callback_t func) { func(head); }
#endif

/* What is printed: of a warning the trap that follows tells. */
void __warn_printk(const char *fmt, ...) { }
void __dynamic_pr_debug(struct _ddebug *descriptor, const char *fmt, ...) { }

SS_NEVER(dump_stack);
SS_NEVER(mem_dump_obj);

/* Operations; their numbers are those of `Op` in conform/targets/percpu_refcount.py. */

enum { OP_TRYGET, OP_PUT, OP_KILL, OP_WAIT };

static int is_done(void *nothing) { return done; }

long ss_operate(int operation, const long *at)
{
	if (operation == OP_WAIT) {
		ss_stop("wait", 0, is_done, 0);
		return 0;
	}
	ss_stop("one", 0, 0, 0);
	switch (operation) {
	case OP_TRYGET:
		return percpu_ref_tryget_live(ref);
	case OP_PUT:
		percpu_ref_put(ref);
		return 0;
	case OP_KILL:
		percpu_ref_kill_and_confirm(ref, confirms ? confirm : NULL);
		return 0;
	}
	return -1;
}

/* The world. Arguments: how many references there are beside the first; 1: it is atomic from the start, 2: it may be used again
 * after its end; whether whoever kills it asks to be told when that is done. */

void ss_setup(const long *at)
{
	long more = at[0];

	cpumask_set_cpu(0, &__cpu_possible_mask);
	ref = ss_alloc(sizeof(*ref));
	confirms = at[2];
	BUG_ON(percpu_ref_init(ref, release, at[1] == 1 ? PERCPU_REF_INIT_ATOMIC : at[1] == 2 ? PERCPU_REF_ALLOW_REINIT : 0, GFP_KERNEL));
	while (more--)
		percpu_ref_get(ref);
}

void ss_poke(int what, const long *arguments) { }

void ss_look(void)
{
	unsigned long __percpu *counter;
	long count = atomic_long_read(&ref->data->count);

	if (__ref_is_percpu(ref, &counter))
		count += (long)*(unsigned long *)counter - (long)PERCPU_COUNT_BIAS;
	ss_text("count=");
	ss_number(count);
	ss_text(" dying=");
	ss_number(percpu_ref_is_dying(ref));
	ss_text(" zero=");
	ss_number(done);
	ss_text(" atomic=");
	ss_number(!!(ref->percpu_count_ptr & __PERCPU_REF_ATOMIC));
	ss_text(" freed=");
	ss_number(freed);
	ss_text(" confirmed=");
	ss_number(confirmed);
}
