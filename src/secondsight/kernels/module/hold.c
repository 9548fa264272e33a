// SPDX-License-Identifier: GPL-2.0
/*
 * Hold points: every thread of a scenario stops at each armed one that it meets, and goes on when the
 * coordinator says so.
 *
 * The coordinator lets one thread go and waits until all are *settled*: held, blocked or ended. A
 * thread is blocked when it is asleep in the kernel and not in a hold. What it sleeps for, only
 * another thread of the scenario can give, and none of those runs; but it may also sleep for the
 * kernel's own work (a grace period, a flush), which ends by itself. So a sleep counts only when the
 * thread has said what it waits for (ss_waits), or when it lasts some ticks with no switch in between.
 *
 * A hold ends early when its thread is killed, and by its timeout, which is counted: a run with such
 * a hold is no result.
 */
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "compat.h"
#include "session.h"

#define SS_STABLE_TICKS 4

/* The one session whose threads are held. Hooks in the kernel's own functions find theirs by it. */
static struct ss_session *ss_armed;
static DEFINE_SPINLOCK(ss_armed_lock);

void ss_session_init(struct ss_session *session)
{
	int i;

	spin_lock_init(&session->lock);
	init_waitqueue_head(&session->moved);
	mutex_init(&session->devices);
	session->free = true;
	session->coordinator = current->mm;
	for (i = 0; i < SS_MAX_THREADS; i++)
		init_waitqueue_head(&session->thread[i].go);
}

static struct ss_thread *thread_of(struct ss_session *session)
{
	u32 i;

	for (i = 0; i < session->threads; i++)
		if (READ_ONCE(session->thread[i].task) == current)
			return &session->thread[i];
	return NULL;
}

struct ss_thread *ss_current_thread(struct ss_session **session)
{
	/* A thread of a scenario has the session open, so that it does not go away meanwhile. */
	struct ss_session *armed = READ_ONCE(ss_armed);

	if (!armed || !current->mm || current->mm == armed->coordinator)
		return NULL;
	*session = armed;
	return thread_of(armed);
}

long ss_arm(struct ss_session *session, const struct ss_arm *arm)
{
	long ret = 0;

	if (arm->threads > SS_MAX_THREADS || !arm->hold_ms)
		return -EINVAL;
	spin_lock(&ss_armed_lock);
	if (ss_armed || session->threads) {
		ret = -EBUSY;
	} else {
		session->points = arm->points & ~1ULL; /* 0 is no point */
		session->threads = arm->threads;
		session->hold_jiffies = msecs_to_jiffies(arm->hold_ms);
		session->free = false;
		WRITE_ONCE(ss_armed, session);
	}
	spin_unlock(&ss_armed_lock);
	return ret;
}

void ss_session_free(struct ss_session *session)
{
	u32 i;

	spin_lock(&ss_armed_lock);
	if (ss_armed == session)
		WRITE_ONCE(ss_armed, NULL);
	spin_unlock(&ss_armed_lock);
	WRITE_ONCE(session->free, true);
	for (i = 0; i < session->threads; i++)
		wake_up_all(&session->thread[i].go);
}

void ss_session_end(struct ss_session *session)
{
	u32 i;

	ss_session_free(session);
	for (i = 0; i < session->threads; i++)
		if (session->thread[i].task)
			put_task_struct(session->thread[i].task);
}

static void moved(struct ss_session *session)
{
	WRITE_ONCE(session->moves, session->moves + 1);
	wake_up_all(&session->moved);
}

static void hold_thread(struct ss_session *session, struct ss_thread *thread, int point)
{
	long left;

	spin_lock(&session->lock);
	thread->point = point;
	spin_unlock(&session->lock);
	moved(session);
	left = wait_event_killable_timeout(thread->go, !READ_ONCE(thread->point) || READ_ONCE(session->free),
					   session->hold_jiffies);
	spin_lock(&session->lock);
	if (!left)
		session->timed_out++;
	thread->point = 0;
	spin_unlock(&session->lock);
}

void ss_hold(struct ss_session *session, int point)
{
	struct ss_thread *thread;

	if (READ_ONCE(session->free) || !(session->points & BIT_ULL(point)))
		return;
	if ((current->flags & PF_EXITING) || fatal_signal_pending(current))
		return;
	thread = thread_of(session);
	if (thread && !thread->ended)
		hold_thread(session, thread, point);
}

void ss_waits(struct ss_session *session, bool waits)
{
	struct ss_thread *thread = READ_ONCE(session->free) ? NULL : thread_of(session);

	if (thread)
		WRITE_ONCE(thread->waits, waits);
}

long ss_thread(struct ss_session *session, unsigned long number)
{
	if (number >= session->threads || session->thread[number].task)
		return -EINVAL;
	get_task_struct(current);
	WRITE_ONCE(session->thread[number].task, current);
	return 0;
}

long ss_before(struct ss_session *session, unsigned long op)
{
	struct ss_thread *thread = thread_of(session);

	if (!thread)
		return -EINVAL;
	spin_lock(&session->lock);
	thread->op = op;
	spin_unlock(&session->lock);
	ss_hold(session, SS_POINT_OP);
	return 0;
}

/*
 * A thread that has ended stays until all are free: its exit would take the mmap lock at some time
 * during the steps of others.
 */
long ss_end(struct ss_session *session)
{
	struct ss_thread *thread = thread_of(session);

	if (!thread)
		return -EINVAL;
	spin_lock(&session->lock);
	thread->ended = true;
	spin_unlock(&session->lock);
	moved(session);
	wait_event_killable(thread->go, READ_ONCE(session->free));
	return 0;
}

long ss_exits(struct ss_session *session)
{
	struct ss_thread *thread = thread_of(session);

	if (!thread)
		return -EINVAL;
	WRITE_ONCE(thread->exits, true);
	return 0;
}

/*
 * The task to look at for a thread. When one that ends its process is gone, another takes the memory down: the last of the
 * process to go, whichever that is. The caller holds the RCU read lock; the leader is not reaped before the coordinator has
 * done with the session.
 */
static struct task_struct *task_of(struct ss_thread *thread)
{
	struct task_struct *task = READ_ONCE(thread->task), *other;

	if (task && READ_ONCE(thread->exits) && READ_ONCE(task->exit_state))
		for_each_thread(task->group_leader, other)
			if (!READ_ONCE(other->exit_state))
				return other;
	return task;
}

/* Where a thread is; *asleep when it may be blocked. */
static u32 where(struct ss_session *session, struct ss_thread *thread, bool *asleep)
{
	struct task_struct *task;
	u32 at = SS_RUNNING;

	*asleep = false;
	spin_lock(&session->lock);
	task = task_of(thread); /* under the lock: a thread that begins meanwhile may come to a hold, and has a task then */
	if (thread->point && !fatal_signal_pending(task))
		at = thread->point == SS_POINT_OP ? SS_OP + thread->op : thread->point;
	else if (thread->ended || (task && READ_ONCE(task->exit_state)))
		at = SS_ENDED;
	else if (task && !thread->exits && (READ_ONCE(task->flags) & PF_EXITING))
		at = SS_ENDED; /* what is left to do is the exit's, and whoever called it waits for it */
	else if (task)
		*asleep = ss_asleep(task);
	spin_unlock(&session->lock);
	return at;
}

/* Let a thread go that is held. */
static long release(struct ss_session *session, struct ss_thread *thread)
{
	bool held;

	spin_lock(&session->lock);
	held = thread->point;
	thread->point = 0;
	spin_unlock(&session->lock);
	if (!held)
		return -EINVAL;
	wake_up_all(&thread->go);
	return 0;
}

/* One look at all threads. Returns whether none of them runs; *told when each that sleeps has said what it waits for. */
static bool look(struct ss_session *session, struct ss_settle *settle, bool *told, unsigned long *switches)
{
	bool quiet = true;
	u32 i;

	*told = true;
	*switches = 0;
	rcu_read_lock();
	for (i = 0; i < session->threads; i++) {
		struct ss_thread *thread = &session->thread[i];
		bool asleep;

		settle->where[i] = where(session, thread, &asleep);
		if (settle->where[i] != SS_RUNNING)
			continue;
		if (!asleep) {
			quiet = false;
			continue;
		}
		settle->where[i] = SS_BLOCKED;
		*told &= READ_ONCE(thread->waits);
		*switches += task_of(thread)->nvcsw + task_of(thread)->nivcsw;
	}
	rcu_read_unlock();
	return quiet;
}

long ss_settle(struct ss_session *session, struct ss_settle *settle)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(settle->timeout_ms), before = 0, switches;
	unsigned int moves, same = 0;
	bool told;

	if (settle->release >= (s32)session->threads)
		return -EINVAL;
	if (settle->release >= 0 && release(session, &session->thread[settle->release]))
		return -EINVAL;
	settle->settled = 0;
	for (;;) {
		long left;

		moves = READ_ONCE(session->moves);
		if (look(session, settle, &told, &switches)) {
			/* Somebody may have come to a hold, and woken another, since the first was looked at. */
			if (moves != READ_ONCE(session->moves))
				continue;
			same = switches == before ? same + 1 : 0;
			before = switches;
			if (told || same >= SS_STABLE_TICKS) {
				settle->settled = 1;
				break;
			}
		} else {
			same = 0;
		}
		if (time_after(jiffies, deadline))
			break;
		left = wait_event_interruptible_timeout(session->moved, moves != READ_ONCE(session->moves), 1);
		if (left < 0)
			return left;
	}
	settle->timed_out = session->timed_out;
	return 0;
}
