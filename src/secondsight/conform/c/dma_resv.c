/*
 * drivers/dma-buf/dma-resv.c as it is, with drivers/dma-buf/dma-fence.c: one reservation object, its fences, who waits for them,
 * and a look at their state. See conform/targets/dma_resv.py, which has the same world in the model.
 */
#include SS_KERNEL_FILE

#include <linux/version.h>

#include "conform.h"

#define FENCES 3
#define CALLBACKS 3

/* A fence: what is done when somebody begins to wait (0: nothing, 1: it is asked, 2: it says that it is over). */
struct one_fence {
	struct dma_fence base;
	spinlock_t lock;
	int kind, asked, freed;
};

struct one_callback {
	struct dma_fence_cb base;
	int turn;
};

static struct dma_resv *resv;
static struct one_fence *fence;
static struct one_callback *callback;
static int turn, arrays;

/* The reservation lock. */

static int resv_is_free(void *lock) { return atomic_long_read(&((struct ww_mutex *)lock)->base.owner) == 0; }

int ww_mutex_lock(struct ww_mutex *lock, struct ww_acquire_ctx *ctx)
{
	ss_stop("resv_lock", SS_FROM, resv_is_free, lock);
	atomic_long_set(&lock->base.owner, 1);
	return 0;
}

void ww_mutex_unlock(struct ww_mutex *lock) { atomic_long_set(&lock->base.owner, 0); }

/* Readers of RCU: where a walk over the fences looks at them. */
void __rcu_read_lock(void) { ss_stop("rcu_read_lock", SS_FROM, 0, 0); }

/* Each array of fences is made with one allocation. What is freed is not used again. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
void kvfree_call_rcu(struct rcu_head *head, void *ptr) { }
size_t kmalloc_size_roundup(size_t size)
{
	arrays++;
	return size;
}
#else
static size_t allocated;

void kvfree_call_rcu(struct rcu_head *head, rcu_callback_t func) { }
void *__kmalloc(size_t size, gfp_t flags)
{
	arrays++;
	return ss_alloc(allocated = size);
}
size_t ksize(const void *object) { return allocated; }
#endif

/* Sleeping until somebody wakes the task. */

static struct sleeping {
	struct task_struct *task;
	int awake;
} sleeping[SS_THREADS];

static int wakes(void *one) { return ((struct sleeping *)one)->awake; }

signed long schedule_timeout(signed long timeout)
{
	struct sleeping *me = &sleeping[ss_self()];

	me->task = current;
	me->awake = 0;
	ss_stop("schedule_timeout", SS_FROM, wakes, me);
	me->task = NULL;
	return timeout;
}

int wake_up_state(struct task_struct *task, unsigned int state)
{
	int i;

	for (i = 0; i < SS_THREADS; i++)
		if (sleeping[i].task == task)
			sleeping[i].awake = 1;
	return 1;
}

ktime_t ktime_get(void) { return 0; }

/* Fences. */

static const char *name(struct dma_fence *of) { return "conform"; }

static bool enable_signaling(struct dma_fence *of)
{
	struct one_fence *one = container_of(of, struct one_fence, base);

	one->asked++;
	return one->kind != 2;
}

static void release(struct dma_fence *of) { container_of(of, struct one_fence, base)->freed = 1; }

static const struct dma_fence_ops plain = { .get_driver_name = name, .get_timeline_name = name, .release = release };
static const struct dma_fence_ops asked = {
	.get_driver_name = name, .get_timeline_name = name, .release = release, .enable_signaling = enable_signaling
};

static void called(struct dma_fence *of, struct dma_fence_cb *cb) { container_of(cb, struct one_callback, base)->turn = ++turn; }

/* What is printed: of a warning the trap that follows tells. */
void __warn_printk(const char *fmt, ...) { }
void mutex_destroy(struct mutex *lock) { }

/* Tracing, containers of fences, and what nobody here asks for. */
SS_NEVER(__SCT__preempt_schedule_notrace);
SS_NEVER(__trace_trigger_soft_disabled);
SS_NEVER(bpf_trace_run1);
SS_NEVER(dma_fence_array_create);
SS_NEVER(krealloc);
SS_NEVER(krealloc_noprof);
SS_NEVER(krealloc_node_align_noprof);
SS_NEVER(__trace_set_current_state);
SS_NEVER(mem_dump_obj);
SS_NEVER(perf_trace_buf_alloc);
SS_NEVER(perf_trace_run_bpf_submit);
SS_NEVER(refcount_warn_saturate);
SS_NEVER(seq_printf);
SS_NEVER(trace_event_buffer_commit);
SS_NEVER(trace_event_buffer_reserve);
SS_NEVER(trace_event_printf);
SS_NEVER(trace_event_raw_init);
SS_NEVER(trace_event_reg);
SS_NEVER(trace_handle_return);
SS_NEVER(trace_raw_output_prep);
SS_NEVER_DATA(__cpu_online_mask);
SS_NEVER_DATA(this_cpu_off);
SS_NEVER_DATA(cpu_number);
SS_NEVER_DATA(tracepoint_srcu);
struct tracepoint __tracepoint_sched_set_state_tp;
const struct dma_fence_ops dma_fence_array_ops, dma_fence_chain_ops;

/* Operations; their numbers are those of `Op` in conform/targets/dma_resv.py. */

enum {
	OP_LOCK, OP_UNLOCK, OP_RESERVE, OP_ADD, OP_REPLACE, OP_TEST, OP_WAIT, OP_SIGNAL, OP_CALLBACK, OP_TAKE_BACK, OP_WAIT_ONE, OP_PUT
};

long ss_operate(int operation, const long *at)
{
	struct dma_fence *of = &fence[at[0] % FENCES].base;
	struct dma_fence_cb *cb = &callback[at[1] % CALLBACKS].base;

	switch (operation) {
	case OP_LOCK:
		return dma_resv_lock(resv, NULL);
	case OP_WAIT:
		dma_resv_wait_timeout(resv, at[0], false, MAX_SCHEDULE_TIMEOUT);
		return 0;
	case OP_WAIT_ONE:
		dma_fence_wait(of, false);
		return 0;
	}
	ss_stop("one", 0, 0, 0);
	switch (operation) {
	case OP_UNLOCK:
		dma_resv_unlock(resv);
		return 0;
	case OP_RESERVE:
		dma_resv_reserve_fences(resv, at[0]);
		return 0;
	case OP_ADD:
		dma_resv_add_fence(resv, of, at[1]);
		return 0;
	case OP_REPLACE:
		dma_resv_replace_fences(resv, of->context, of, at[1]);
		return 0;
	case OP_TEST:
		return dma_resv_test_signaled(resv, at[0]);
	case OP_SIGNAL:
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
		return dma_fence_signal(of);
#else
		return dma_fence_check_and_signal(of) ? -EINVAL : 0;
#endif
	case OP_CALLBACK:
		return dma_fence_add_callback(of, cb, called);
	case OP_TAKE_BACK:
		return dma_fence_remove_callback(of, cb);
	case OP_PUT:
		dma_fence_put(of);
		return 0;
	}
	return -1;
}

/* The world. Arguments: of each fence its context, its number and its kind; whether there is an array of fences already. */

void ss_setup(const long *at)
{
	int i;

	resv = ss_alloc(sizeof(*resv));
	fence = ss_alloc(FENCES * sizeof(*fence));
	callback = ss_alloc(CALLBACKS * sizeof(*callback));
	turn = arrays = 0;
	for (i = 0; i < FENCES; i++) {
		spin_lock_init(&fence[i].lock);
		fence[i].kind = at[i * 3 + 2];
		dma_fence_init(&fence[i].base, fence[i].kind ? &asked : &plain, &fence[i].lock, at[i * 3], at[i * 3 + 1]);
	}
	for (i = 0; i < CALLBACKS; i++)
		INIT_LIST_HEAD(&callback[i].base.node);
	if (at[FENCES * 3]) {
		dma_resv_lock(resv, NULL);
		dma_resv_reserve_fences(resv, 1);
		dma_resv_unlock(resv);
	}
}

void ss_poke(int what, const long *arguments) { }

/* The look. */

static int number_of(struct dma_fence *of) { return container_of(of, struct one_fence, base) - fence; }

void ss_look(void)
{
	struct dma_resv_list *list = rcu_dereference_protected(resv->fences, true);
	struct dma_fence_cb *cb;
	enum dma_resv_usage usage;
	struct dma_fence *of;
	int i, most;

	ss_text("resv=");
	ss_number(atomic_long_read(&resv->lock.base.owner));
	ss_text(" array=");
	ss_number(arrays % 16);
	ss_text(" max=");
	ss_number(list ? list->max_fences : 0);
	ss_text(" fences=");
	for (i = 0; list && i < list->num_fences; i++) {
		dma_resv_list_entry(list, i, resv, &of, &usage);
		ss_number(number_of(of));
		ss_text(":");
		ss_number(usage);
		ss_text(";");
	}
	for (i = 0; i < FENCES; i++) {
		ss_text(" fence=");
		if (fence[i].freed) {
			ss_text("freed");
			continue;
		}
		of = &fence[i].base;
		ss_number(kref_read(&of->refcount));
		ss_text(test_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &of->flags) ? "s" : "-");
		ss_text(test_bit(DMA_FENCE_FLAG_ENABLE_SIGNAL_BIT, &of->flags) ? "e" : "-");
		ss_number(fence[i].asked);
		most = 20;
		if (!test_bit(DMA_FENCE_FLAG_SIGNALED_BIT, &of->flags))
			list_for_each_entry(cb, &of->cb_list, node) {
				if (!most--)
					break;
				if (cb->func == called) {
					ss_text("<");
					ss_number((struct one_callback *)cb - callback);
				}
			}
	}
	ss_text(" turns=");
	for (i = 0; i < CALLBACKS; i++) {
		ss_number(callback[i].turn);
		ss_text(list_empty(&callback[i].base.node) ? "-" : "+");
	}
}
