/*
 * mm/mmu_notifier.c as it is, with subscribers to it and a look at its state. See conform/mmu_notifier.py, which has the
 * same world in the model: the numbers of operations and the form of the look are those there.
 */
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
/* The same function under its name of before; then invalidate_range_end() calls it too, for which there are no brackets beside it. */
#define __mmu_notifier_invalidate_range __mmu_notifier_arch_invalidate_secondary_tlbs
#define mmu_notifier_invalidate_range mmu_notifier_arch_invalidate_secondary_tlbs
#define invalidate_range arch_invalidate_secondary_tlbs
#endif

#include "conform.h"
#include "mmu_notifier_places.h"

#include SS_KERNEL_FILE

#undef mmgrab
#undef mmdrop
#undef synchronize_srcu
#include <linux/interval_tree.h>

#define SUBS 4
#define NOTIFIERS 3

void ss_look_srcu(void);

/* What a subscriber was last called with, and when. */
struct call {
	int count, turn;
	long start, end, event, blockable, seq;
};

struct sub {
	struct mmu_interval_notifier notifier;
#ifdef SS_TWO_PASSES
	struct mmu_interval_notifier_finish finish;
#endif
	struct call call;
	int refuses, two_passes, finished;
};

struct hears {
	struct mmu_notifier notifier;
	struct call start, end;
	int refuses, released;
	int is_shared, used; /* one that alloc_notifier() gives, and has given */
	int place;           /* in the model's list of nodes, from 1; 0: in none */
	struct rcu_head *put;
	rcu_callback_t put_by;
};

static struct mm_struct *mm;
static struct address_space *mapping;
static struct sub *sub;
static struct hears *hears;
static int turn;
static int got[SS_THREADS]; /* which notifier, from 1, each thread's last mmu_notifier_get() gave it */

static void called(struct call *call, const struct mmu_notifier_range *range, unsigned long seq)
{
	call->count++;
	call->turn = ++turn;
	call->start = range->start >> PAGE_SHIFT;
	call->end = range->end == ULONG_MAX ? -1 : range->end >> PAGE_SHIFT;
	call->event = range->event;
	call->blockable = mmu_notifier_range_blockable(range);
	call->seq = seq;
}

static bool invalidate(struct mmu_interval_notifier *mni, const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct sub *me = container_of(mni, struct sub, notifier);
	bool done;

	ss_stop("invalidate", SS_FROM, 0, 0);
	called(&me->call, range, cur_seq);
	done = mmu_notifier_range_blockable(range) ? me->refuses < 2 : !me->refuses;
	if (done)
		mmu_interval_set_seq(mni, cur_seq);
	ss_stop("invalidated", SS_FROM, 0, 0);
	return done;
}

static const struct mmu_interval_notifier_ops ops = { .invalidate = invalidate };

#ifdef SS_TWO_PASSES
static bool invalidate_start(struct mmu_interval_notifier *mni, const struct mmu_notifier_range *range, unsigned long cur_seq,
			     struct mmu_interval_notifier_finish **finish)
{
	struct sub *me = container_of(mni, struct sub, notifier);
	bool done;

	ss_stop("invalidate", SS_FROM, 0, 0);
	called(&me->call, range, cur_seq);
	done = mmu_notifier_range_blockable(range) || !me->refuses;
	if (done)
		mmu_interval_set_seq(mni, cur_seq);
	if (done && me->two_passes == 2 && me->finished >= 0) {
		me->finished = -1 - me->finished; /* in use */
		*finish = &me->finish;
	}
	ss_stop("invalidated", SS_FROM, 0, 0);
	return done;
}

static void invalidate_finish(struct mmu_interval_notifier_finish *finish)
{
	struct sub *me = container_of(finish, struct sub, finish);

	ss_stop("finish", SS_FROM, 0, 0);
	me->finished = -1 - me->finished + 1;
	me->call.turn = ++turn;
}

static const struct mmu_interval_notifier_ops two_passes = {
	.invalidate_start = invalidate_start, .invalidate_finish = invalidate_finish,
};
#endif

static int range_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct hears *me = container_of(mn, struct hears, notifier);
	int ret;

	ss_stop("range_start", SS_FROM, 0, 0);
	called(&me->start, range, 0);
	ret = me->refuses >= (mmu_notifier_range_blockable(range) ? 2 : 1) ? -EAGAIN : 0;
	ss_stop("range_started", SS_FROM, 0, 0);
	return ret;
}

static void range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct hears *me = container_of(mn, struct hears, notifier);

	ss_stop("range_end", SS_FROM, 0, 0);
	called(&me->end, range, 0);
	ss_stop("range_ended", SS_FROM, 0, 0);
}

static void release(struct mmu_notifier *mn, struct mm_struct *of)
{
	struct hears *me = container_of(mn, struct hears, notifier);

	ss_stop("release", SS_FROM, 0, 0);
	me->released++;
	turn++;
	ss_stop("released_one", SS_FROM, 0, 0);
}

static const struct mmu_notifier_ops both = { .invalidate_range_start = range_start, .invalidate_range_end = range_end, .release = release };
static void flush(struct mmu_notifier *mn, struct mm_struct *of, unsigned long from, unsigned long to)
{
	struct hears *me = container_of(mn, struct hears, notifier);
	struct mmu_notifier_range range = {
		.start = from, .end = to, .event = MMU_NOTIFY_CLEAR, .flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};

	ss_stop("flush", SS_FROM, 0, 0);
	called(&me->start, &range, 0);
	ss_stop("flushed", SS_FROM, 0, 0);
}

static const struct mmu_notifier_ops flushes = { .arch_invalidate_secondary_tlbs = flush, .release = release };

/* Whether the device has used the pages: `refuses` is the answer. Called with a spinlock held, so that nobody comes in between. */
static int is_young(struct mmu_notifier *mn, unsigned long from, unsigned long to, int by)
{
	struct hears *me = container_of(mn, struct hears, notifier);
	struct mmu_notifier_range range = {
		.start = from, .end = to, .event = MMU_NOTIFY_CLEAR, .flags = MMU_NOTIFIER_RANGE_BLOCKABLE,
	};

	called(&me->start, &range, by);
	return me->refuses;
}
static young_t clear_flush_young(struct mmu_notifier *mn, struct mm_struct *of, unsigned long from, unsigned long to) { return is_young(mn, from, to, 1); }
static young_t clear_young(struct mmu_notifier *mn, struct mm_struct *of, unsigned long from, unsigned long to) { return is_young(mn, from, to, 2); }
static young_t test_young(struct mmu_notifier *mn, struct mm_struct *of, unsigned long at) { return is_young(mn, at, at + PAGE_SIZE, 3); }

static const struct mmu_notifier_ops tells_young = {
	.clear_flush_young = clear_flush_young, .clear_young = clear_young, .test_young = test_young, .release = release,
};

/* What the users of a driver share: it begins with nothing of what was in its memory before. */

static struct mmu_notifier *alloc_notifier(struct mm_struct *of)
{
	int i;

	ss_stop("alloc", SS_FROM, 0, 0);
	turn++;
	for (i = 0; i < NOTIFIERS; i++)
		if (hears[i].is_shared && !hears[i].used) {
			hears[i].used = 1;
			memset(&hears[i].notifier, 0, sizeof(hears[i].notifier));
			return &hears[i].notifier;
		}
	return ERR_PTR(-ENOMEM);
}

static void free_notifier(struct mmu_notifier *mn)
{
	turn++;
	container_of(mn, struct hears, notifier)->used = 0;
}

static const struct mmu_notifier_ops shared = {
	.invalidate_range_start = range_start, .release = release, .alloc_notifier = alloc_notifier, .free_notifier = free_notifier,
};

/* The callbacks of SRCU, of which the model makes that of the lowest node first. */

void call_srcu(struct srcu_struct *ssp, struct rcu_head *head, rcu_callback_t func)
{
	struct hears *of = container_of(container_of(head, struct mmu_notifier, rcu), struct hears, notifier);

	of->put = head;
	of->put_by = func;
}

static struct hears *put_first(void)
{
	struct hears *first = NULL;
	int i;

	for (i = 0; i < NOTIFIERS; i++)
		if (hears[i].put && (!first || hears[i].place < first->place))
			first = &hears[i];
	return first;
}
static int some_put(void *nothing) { return put_first() != NULL; }
static int none_put(void *nothing) { return put_first() == NULL; }
static void all_freed(void) { ss_stop("synchronize", SS_FROM, none_put, 0); }

static void work(void)
{
	struct hears *one;

	for (;;) {
		ss_stop("srcu_work", 0, some_put, 0);
		one = put_first();
		synchronize_srcu(NULL);
		ss_stop("srcu_invoke", 0, 0, 0);
		one->put_by(one->put);
		one->put = NULL;
		one->place = 0;
	}
}

static const struct mmu_notifier_ops only_start = { .invalidate_range_start = range_start, .release = release };

/* What other files of the kernel's do. */

static int rmap_is_free(void *what) { return *(long *)&mapping->i_mmap_rwsem.count == 0; }

int mm_take_all_locks(struct mm_struct *of)
{
	ss_stop("mm_take_all_locks", SS_FROM, 0, 0);
	ss_stop("all_locks", SS_FROM, rmap_is_free, 0);
	return 0;
}

/* Whoever was put into the list while all locks were held has the first of the model's nodes that is not in use. */
void mm_drop_all_locks(struct mm_struct *of)
{
	int i, j, place;

	for (i = 0; i < NOTIFIERS; i++) {
		if (hears[i].place || hlist_unhashed(&hears[i].notifier.hlist))
			continue;
		for (place = 1, j = 0; j < NOTIFIERS; j++)
			if (hears[j].place == place) {
				place++;
				j = -1;
			}
		hears[i].place = place;
	}
}

/* Operations; their numbers are those of `Operation` in conform/mmu_notifier.py. */

enum { OP_READ, OP_INSERT, OP_REMOVE, OP_BRACKET, OP_NESTED, OP_REGISTER, OP_UNREGISTER, OP_EXIT, OP_FLUSH, OP_GET, OP_PUT, OP_WORK, OP_SYNCHRONIZE, OP_YOUNG };

static void lock_for(int way)
{
	if (way == 0)
		mmap_read_lock(mm);
	else
		down_read(&mapping->i_mmap_rwsem);
}

static void unlock_for(int way)
{
	if (way == 0)
		mmap_read_unlock(mm);
	else
		up_read(&mapping->i_mmap_rwsem);
}

static int start(struct mmu_notifier_range *range, const long *at)
{
	int ret;

	mmu_notifier_range_init(range, at[3],
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
				0, NULL, mm,
#else
				0, mm,
#endif
				at[0] << PAGE_SHIFT, at[1] << PAGE_SHIFT);
	range->flags = at[2] ? MMU_NOTIFIER_RANGE_BLOCKABLE : 0;
	ss_stop("start", 0, 0, 0);
	ret = mm_has_notifiers(mm) ? __mmu_notifier_invalidate_range_start(range) : 0;
	ss_stop("started", 0, 0, 0);
	return ret;
}

static void end(struct mmu_notifier_range *range)
{
	if (mm_has_notifiers(mm))
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
		__mmu_notifier_invalidate_range_end(range, false);
#else
		__mmu_notifier_invalidate_range_end(range);
#endif
	ss_stop("ended_bracket", 0, 0, 0);
}

long ss_operate(int operation, const long *at)
{
	struct mmu_notifier_range range, inner;
	struct mmu_notifier *mn;
	unsigned long seq;
	long ret = 0;

	switch (operation) {
	case OP_READ:
		seq = mmu_interval_read_begin(&sub[at[0]].notifier);
		ss_stop("retry", 0, 0, 0);
		return (long)seq * 2 + mmu_interval_read_retry(&sub[at[0]].notifier, seq);
	case OP_INSERT:
		ss_stop("insert", 0, 0, 0);
		ret = mmu_interval_notifier_insert(&sub[at[0]].notifier, mm, at[1] << PAGE_SHIFT, at[2] << PAGE_SHIFT,
#ifdef SS_TWO_PASSES
						   sub[at[0]].two_passes ? &two_passes :
#endif
						   &ops);
		return ret;
	case OP_REMOVE:
		mmu_interval_notifier_remove(&sub[at[0]].notifier);
		return 0;
	case OP_BRACKET:
		lock_for(at[4]);
		ret = start(&range, at);
		if (!ret)
			end(&range);
		unlock_for(at[4]);
		return ret;
	case OP_NESTED:
		lock_for(at[4]);
		ret = start(&range, at);
		if (!ret) {
			ss_stop("between", 0, 0, 0);
			if (!start(&inner, at))
				end(&inner);
			ss_stop("between", 0, 0, 0);
			end(&range);
		}
		unlock_for(at[4]);
		return ret;
	case OP_REGISTER:
		return mmu_notifier_register(&hears[at[0]].notifier, mm);
	case OP_UNREGISTER:
		ss_stop("unregister", 0, 0, 0);
		mmu_notifier_unregister(&hears[at[0]].notifier, mm);
		hears[at[0]].place = 0;
		return 0;
	case OP_EXIT:
		ss_stop("exit", 0, 0, 0);
		atomic_set(&mm->mm_users, 0);
		ss_stop("start", 0, 0, 0);
		if (mm_has_notifiers(mm))
			__mmu_notifier_release(mm);
		ss_stop("ended_bracket", 0, 0, 0);
		return 0;
	case OP_FLUSH:
		ss_stop("start", 0, 0, 0);
		mmu_notifier_arch_invalidate_secondary_tlbs(mm, at[0] << PAGE_SHIFT, at[1] << PAGE_SHIFT);
		ss_stop("started", 0, 0, 0);
		return 0;
	case OP_GET:
		mn = mmu_notifier_get(&shared, mm);
		ss_stop("got", 0, 0, 0);
		got[ss_self()] = IS_ERR(mn) ? 0 : 1 + (int)(container_of(mn, struct hears, notifier) - hears);
		return got[ss_self()];
	case OP_PUT:
		ss_stop("put", 0, 0, 0);
		if (!got[ss_self()])
			return -1;
		mmu_notifier_put(&hears[got[ss_self()] - 1].notifier);
		return 0;
	case OP_WORK:
		work();
		return 0;
	case OP_SYNCHRONIZE:
		mmu_notifier_synchronize();
		return 0;
	case OP_YOUNG:
		ss_stop("start", 0, 0, 0);
		if (at[2] == 1)
			ret = mmu_notifier_clear_flush_young(mm, at[0] << PAGE_SHIFT, at[1] << PAGE_SHIFT);
		else if (at[2] == 2)
			ret = mmu_notifier_clear_young(mm, at[0] << PAGE_SHIFT, at[1] << PAGE_SHIFT);
		else
			ret = mmu_notifier_test_young(mm, at[0] << PAGE_SHIFT);
		return ret;
	}
	return -1;
}

/* The world. Arguments: of each subscriber its kind (10 for two passes, 20 if it asks for the second; whether it refuses),
 * its first page and how many (0: it is not inserted yet); of each notifier its kind and whether it is registered. */

void ss_setup(const long *arguments)
{
	const long *at = arguments;
	int i;

	turn = 0;
	mm = ss_alloc(sizeof(*mm));
	mapping = ss_alloc(sizeof(*mapping));
	atomic_set(&mm->mm_users, 1);
	atomic_set(&mm->mm_count, 100);
	sub = ss_alloc(SUBS * sizeof(*sub));
	hears = ss_alloc(NOTIFIERS * sizeof(*hears));
	for (i = 0; i < SUBS; i++, at += 3) {
		long insert[] = { i, at[1], at[2] };

		sub[i].refuses = at[0] % 10;
		sub[i].two_passes = at[0] / 10;
		RB_CLEAR_NODE(&sub[i].notifier.interval_tree.rb);
		if (at[2])
			ss_operate(OP_INSERT, insert);
	}
	for (i = 0; i < NOTIFIERS; i++, at += 2) {
		long which = i;

		hears[i].refuses = at[0] % 10;
		hears[i].is_shared = at[0] >= 40;
		hears[i].notifier.ops = at[0] >= 40 ? &shared : at[0] >= 30 ? &tells_young : at[0] >= 20 ? &flushes : at[0] >= 10 ? &both : &only_start;
		if (at[1])
			ss_operate(OP_REGISTER, &which);
	}
}

void ss_poke(int what, const long *arguments) { }

/* The look. */

static int sub_number(struct mmu_interval_notifier *mni) { return (int)(container_of(mni, struct sub, notifier) - sub); }

static bool is_in_tree(struct mmu_notifier_subscriptions *subs, struct mmu_interval_notifier *mni)
{
	struct rb_node *node;
	int most = 20; /* a tree that was made a circle has no end */

	for (node = subs ? rb_first_cached(&subs->itree) : NULL; node && most--; node = rb_next(node))
		if (node == &mni->interval_tree.rb)
			return true;
	return false;
}

static bool is_deferred(struct mmu_notifier_subscriptions *subs, struct mmu_interval_notifier *mni)
{
	struct mmu_interval_notifier *one;
	int most = 20;

	if (subs)
		hlist_for_each_entry(one, &subs->deferred_list, deferred_item)
			if (one == mni || !most--)
				return one == mni;
	return false;
}

static void look_call(const struct call *call)
{
	const long part[] = { call->count, call->turn, call->start, call->end, call->event, call->blockable, call->seq };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(part); i++) {
		ss_text(i ? "," : "");
		ss_number(part[i]);
	}
}

void ss_look(void)
{
	struct mmu_notifier_subscriptions *subs = mm->notifier_subscriptions;
	struct mmu_interval_notifier *mni;
	struct mmu_notifier *mn;
	struct rb_node *node;
	int i, most = 20;

	ss_text("mmap=");
	ss_number(*(long *)&mm->mmap_lock.count);
	ss_text(" rmap=");
	ss_number(*(long *)&mapping->i_mmap_rwsem.count);
	ss_text(" users=");
	ss_number(atomic_read(&mm->mm_users));
	ss_text(" count=");
	ss_number(atomic_read(&mm->mm_count) - 100);
	ss_text(" seq=");
	ss_number(subs ? (long)subs->invalidate_seq : 2);
	ss_text(" active=");
	ss_number(subs ? (long)subs->active_invalidate_ranges : 0);
	ss_text(" has_itree=");
	ss_number(subs && subs->has_itree);
	ss_text(" itree=");
	if (subs)
		for (node = rb_first_cached(&subs->itree); node && most--; node = rb_next(node))
			ss_number(sub_number(container_of(rb_entry(node, struct interval_tree_node, rb), struct mmu_interval_notifier, interval_tree)));
	ss_text(" deferred=");
	most = 20;
	if (subs)
		hlist_for_each_entry(mni, &subs->deferred_list, deferred_item) {
			if (!most--)
				break;
			ss_number(sub_number(mni));
		}
	ss_text(" list=");
	most = 20;
	if (subs)
		hlist_for_each_entry(mn, &subs->list, hlist) {
			if (!most--)
				break;
			ss_number(container_of(mn, struct hears, notifier) - hears);
		}
	ss_look_srcu();
	ss_text(" turn=");
	ss_number(turn);
	for (i = 0; i < SUBS; i++) {
		struct mmu_interval_notifier *of = &sub[i].notifier;

		ss_text(" sub=");
		ss_number(of->invalidate_seq);
		ss_text(is_in_tree(subs, of) ? ":in:" : ":out:");
		if (is_in_tree(subs, of) || is_deferred(subs, of)) {
			ss_number((long)(of->interval_tree.start >> PAGE_SHIFT));
			ss_text("-");
			ss_number((long)(of->interval_tree.last + 1) >> PAGE_SHIFT);
		}
		ss_text(":");
		look_call(&sub[i].call);
		ss_text(":");
		ss_number(sub[i].finished);
	}
	for (i = 0; i < NOTIFIERS; i++) {
		ss_text(" hears=");
		ss_text(hlist_unhashed(&hears[i].notifier.hlist) ? "out:" : "in:");
		look_call(&hears[i].start);
		ss_text(":");
		look_call(&hears[i].end);
		ss_text(":");
		ss_number(hears[i].released);
		if (hears[i].is_shared) {
			ss_text(":");
			ss_number(hears[i].notifier.users);
			ss_text(hears[i].used ? "used" : "free");
			ss_text(hears[i].put ? "put" : "");
		}
	}
}
