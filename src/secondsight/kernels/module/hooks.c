// SPDX-License-Identifier: GPL-2.0
/*
 * Hold points at the entry and exit of the kernel's own functions, unmodified.
 *
 * ftrace calls us at the function's first instruction. For a thread of the scenario we make it go on
 * in a stub instead, which has the function's arguments: it holds, calls the function, holds again,
 * and returns what that returned. The stub's own call is let through. Functions with up to six
 * arguments in registers, called where one may sleep.
 *
 * Installing takes up to 200 ms, so that a hook stays installed until the machine goes.
 */
#include <linux/ftrace.h>

#include "compat.h"
#include "session.h"

#ifdef CONFIG_DYNAMIC_FTRACE_WITH_REGS

typedef unsigned long (*ss_function)(unsigned long a, unsigned long b, unsigned long c, unsigned long d, unsigned long e,
				     unsigned long f);

enum { NO_POINT = 0 }; /* never armed */

struct ss_hooked {
	const char *name;
	int enter, exit; /* hold points, or NO_POINT */
	/* What its caller does before it is held at the exit: with the first argument, and what was returned. */
	void (*returned)(struct ss_thread *thread, unsigned long a, unsigned long ret);
	ss_function stub;
	struct ftrace_ops ops;
	unsigned long at; /* the function's ftrace location */
	bool installed;
};

static void notrace redirect(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops, struct ftrace_regs *regs)
{
	struct ss_hooked *hooked = container_of(ops, struct ss_hooked, ops);
	struct ss_session *session;
	struct ss_thread *thread = ss_current_thread(&session);

	if (!thread || READ_ONCE(session->free))
		return;
	if (thread->passes == ip) {
		thread->passes = 0;
		return;
	}
	hooked->at = ip;
	ftrace_regs_set_instruction_pointer(regs, (unsigned long)hooked->stub);
}

static unsigned long notrace around(struct ss_hooked *hooked, unsigned long a, unsigned long b, unsigned long c,
				    unsigned long d, unsigned long e, unsigned long f)
{
	struct ss_session *session;
	struct ss_thread *thread = ss_current_thread(&session);
	unsigned long ret;

	if (thread) {
		ss_hold(session, hooked->enter);
		/* Cleared by the call itself, or left behind by a function whose hook is gone: harmless then. */
		thread->passes = READ_ONCE(session->free) ? 0 : hooked->at;
	}
	ret = ((ss_function)hooked->at)(a, b, c, d, e, f);
	if (thread) {
		thread->passes = 0;
		if (hooked->returned)
			hooked->returned(thread, a, ret);
		ss_hold(session, hooked->exit);
	}
	return ret;
}

#define STUB(number)                                                                                                   \
	static unsigned long notrace stub_##number(unsigned long a, unsigned long b, unsigned long c, unsigned long d, \
						   unsigned long e, unsigned long f)                                   \
	{                                                                                                              \
		return around(&hooks[number], a, b, c, d, e, f);                                                       \
	}

static struct ss_hooked hooks[3];
STUB(0)
STUB(1)
STUB(2)

#define HOOK(number, function, enter_point, exit_point, after)                                                         \
	[number] = {                                                                                                   \
		.name = #function,                                                                                     \
		.enter = enter_point,                                                                                  \
		.exit = exit_point,                                                                                    \
		.returned = after,                                                                                     \
		.stub = stub_##number,                                                                                 \
		.ops = { .func = redirect, .flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY },                 \
	}

static struct ss_hooked hooks[3] = {
	HOOK(0, hmm_range_fault, SS_POINT_HMM_RANGE_FAULT_ENTER, SS_POINT_HMM_RANGE_FAULT_EXIT, ss_collected),
	HOOK(1, __mmu_notifier_invalidate_range_end, SS_POINT_MMU_NOTIFIER_INVALIDATE_RANGE_END_ENTER,
	     SS_POINT_MMU_NOTIFIER_INVALIDATE_RANGE_END_EXIT, NULL),
	HOOK(2, shmem_fault, SS_POINT_SHMEM_FAULT_ENTER, NO_POINT, NULL),
};

long ss_hook(struct ss_hook *hook)
{
	static DEFINE_MUTEX(installing);
	unsigned int i;
	long ret;

	hook->function[sizeof(hook->function) - 1] = 0;
	for (i = 0; i < ARRAY_SIZE(hooks); i++)
		if (!strcmp(hooks[i].name, hook->function))
			break;
	if (i == ARRAY_SIZE(hooks))
		return -ENOENT;
	mutex_lock(&installing);
	ret = 0;
	if (!hooks[i].installed) {
		ret = ftrace_set_filter(&hooks[i].ops, (unsigned char *)hooks[i].name, strlen(hooks[i].name), 1);
		if (!ret)
			ret = register_ftrace_function(&hooks[i].ops);
		hooks[i].installed = !ret;
	}
	mutex_unlock(&installing);
	return ret;
}

#else
long ss_hook(struct ss_hook *hook)
{
	return -EOPNOTSUPP;
}
#endif
