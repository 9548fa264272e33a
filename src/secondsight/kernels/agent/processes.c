/*
 * The processes of one run.
 *
 * The agent has one child for each run. Where a scenario has one process, that is it: it does the setup, starts the
 * threads, and does what comes after them. Where it has several, the child is their *keeper*: it makes them before the setup,
 * so that none has memory of another's, and has them do the operations of the setup and of the end by turns, in the
 * scenario's order. A process that has ended misses its turns. They share one table of descriptors.
 *
 * A process that an operation forks does the same from then on, beside its parent: its part of the setup, threads, its part of the
 * end. It is the keeper's child too (CLONE_PARENT). Until it is there, and if it never is, it is as one that has ended.
 *
 * A device's thread that outlives its process has a process of its own, which the keeper makes too.
 *
 * There is one CPU; interleavings vary by random pauses between operations, of a kind and length drawn from the run's seed.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "secondsight.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RUN_SECONDS = 5, LOOK_NS = 1000000 };
enum { SET_UP = 1, QUIET = 2 }; /* how far a process is: done with its part of the setup, with its threads */

static uint64_t run_seed;
static int has_keeper;
static void *(*thread_body)(void *);

void seed_run(uint64_t seed) { run_seed = seed; }

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t seed_of(uint64_t salt)
{
	uint64_t z = run_seed + (salt + 1) * 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) | 1;
}

/* Let the other threads go first, or not: nothing, a yield, a busy wait, or a sleep that ends, by the
 * timer's interrupt, somewhere in the middle of what another thread is doing. */
static void pause_a_little(uint64_t *state)
{
	uint64_t r = draw(state);

	switch (r % 8) {
	case 0:
	case 1:
	case 2:
		break;
	case 3:
		sched_yield();
		break;
	case 4:
		for (volatile uint64_t n = (r >> 8) % 2000; n; n--)
			;
		break;
	default:
		nanosleep(&(struct timespec){.tv_nsec = 1000 + (r >> 8) % 150000}, NULL);
	}
}

/* Waiting for what another process says, which costs the threads that run nothing. A process that ends says nothing: whoever
 * waits looks again after a while. */

static void say_number(atomic_int *where, int number)
{
	*where = number;
	syscall(SYS_futex, where, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void wait_while(atomic_int *where, int number)
{
	syscall(SYS_futex, where, FUTEX_WAIT, number, &(struct timespec){.tv_nsec = LOOK_NS}, NULL, 0);
}

/* Threads */

/* Until all threads are here. */
static void begin_together(void)
{
	int waiting = --left->waiting;

	if (!waiting)
		say_number(&left->waiting, 0);
	while ((waiting = left->waiting) > 0)
		if (has_keeper)
			wait_while(&left->waiting, waiting);
		else
			sched_yield();
}

static void *thread_main(void *number)
{
	uint64_t state = seed_of((long)number);

	prctl(PR_SET_TIMERSLACK, 1);
	begin_together();
	/* Sometimes a thread that wakes takes the CPU at once, wherever the others are. */
	if (draw(&state) % 3 == 0)
		sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
	for (int i = 0; i < scenario.ops; i++)
		if (scenario.op[i].section == (long)number) {
			pause_a_little(&state);
			left->result[i] = perform(&scenario.op[i]);
		}
	return NULL;
}

enum { DEATH_MS = 500 };

/* Until a process that was killed has ended, as it has in the model's next coarse step; not for longer than it takes where it is held on its way, or waits for a
 * lock. It looks every millisecond: who has killed it goes on in the model, and is not to be taken for one that is blocked. */
static void wait_for_death(int process)
{
	struct pollfd dying = {.fd = syscall(SYS_pidfd_open, left->pid[process], 0), .events = POLLIN};

	if (dying.fd < 0)
		return;
	for (int looks = 0; looks < DEATH_MS && !poll(&dying, 1, 1); looks++)
		;
	close(dying.fd);
}

/* A thread that secondsight.ko holds before each operation, and at the points that are armed. */
static void *forced_thread_main(void *number)
{
	long thread = (long)number, done = 0;

	populate_stack();
	if (ioctl(session, SS_THREAD, thread))
		_exit(1);
	for (int i = 0; i < scenario.ops; i++)
		if (scenario.op[i].section == thread) {
			ioctl(session, SS_BEFORE, done++);
			left->result[i] = perform(&scenario.op[i]);
			if (scenario.op[i].kind == find_kind("kill"))
				wait_for_death(scenario.op[i].arg[1]);
		}
	ioctl(session, SS_END);
	return NULL;
}

/* The process of a thread: that of its operations. */
static int process_of(int thread)
{
	for (int i = 0; i < scenario.ops; i++)
		if (scenario.op[i].section == thread)
			return scenario.op[i].process;
	return 0;
}

/* Whether a thread is the device's alone, and its process exits: then it goes on, in a process of its own, made before the
 * setup: what a fork shares copy-on-write would be invalidated at the next write. */
static int outlives(int thread)
{
	int exits = 0, ops = 0, outside = 0, process = process_of(thread);

	for (int i = 0; i < scenario.ops; i++) {
		const struct op *op = &scenario.op[i];
		exits |= op->process == process && op->kind == find_kind("exit");
		exits |= op->kind == find_kind("kill") && op->arg[1] == process;
		ops += op->section == thread;
		outside += op->section == thread && is_outside(op->kind);
	}
	return exits && ops && ops == outside;
}

/* One process */

static void wait_for_setup(void)
{
	while (!left->is_set_up)
		wait_while(&left->is_set_up, 0);
}

/* A process's operations of the setup or of the end. With a keeper each when it says so. */
static void run_section(int section, int process)
{
	for (int i = 0; i < scenario.ops; i++) {
		if (scenario.op[i].section != section || scenario.op[i].process != process)
			continue;
		for (int turn; has_keeper && (turn = left->turn) != i + 1;)
			wait_while(&left->turn, turn);
		left->result[i] = perform(&scenario.op[i]);
		if (has_keeper)
			say_number(&left->turn, 0);
	}
}

/*
 * The one thread that a forked process has, or -1: it has another number of them, or was not forked. Its process does what that thread does
 * by itself. SYS_clone does not tidy the C library up, as fork() would: a lock of its lists of stacks may have been taken by a thread of the
 * parent that was just being joined, and pthread_create() would wait for it for ever.
 */
static long only_thread(int process)
{
	long only = -1;

	for (long i = 0; i < scenario.threads; i++) {
		if (process_of(i) != process || outlives(i))
			continue;
		if (only >= 0)
			return -1;
		only = i;
	}
	return scenario.forked[process] ? only : -1;
}

static void live(int process, int forced, void *(*body)(void *))
{
	long only = only_thread(process);
	pthread_t thread[MAX_THREADS];
	uint64_t state = seed_of(1000 + process);
	int first = forced ? 0 : draw(&state) % MAX_THREADS, started[MAX_THREADS] = {0};

	left->pid[process] = getpid();
	alarm(RUN_SECONDS);
	keep_window_tables();
	run_section(SETUP, process);
	if (forced)
		populate_memory();
	say_number(&left->stage[process], SET_UP);
	if (has_keeper)
		wait_for_setup();
	else
		left->waiting = scenario.threads;
	if (only >= 0)
		body((void *)only);
	for (int i = 0; only < 0 && i < scenario.threads; i++) {
		long number = (i + first) % scenario.threads;
		if (process_of(number) != process || outlives(number))
			continue;
		started[number] = 1;
		if (pthread_create(&thread[number], NULL, body, (void *)number))
			_exit(1);
	}
	for (int i = 0; i < scenario.threads; i++)
		if (started[i])
			pthread_join(thread[i], NULL);
	alarm(2 * RUN_SECONDS); /* another process may hang, and this one wait for its end */
	say_number(&left->stage[process], QUIET);
	run_section(FINAL, process);
	while (has_keeper && !left->is_over)
		wait_while(&left->is_over, 0);
}

int fork_process(int handle)
{
	int process = 1;

	while (process < scenario.processes && scenario.forked[process] != handle + 1)
		process++;
	if (process == scenario.processes) {
		errno = EINVAL;
		return -1;
	}
	pid_t *noted = &left->forked[process]; /* before the child runs: the caller may be killed at any moment */
	long pid = syscall(SYS_clone, CLONE_FILES | CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD, 0, noted, 0, 0);
	if (!pid) {
		live(process, 0, thread_body);
		_exit(0);
	}
	return pid < 0 ? -1 : 0;
}

static void live_outside(int thread, void *(*body)(void *))
{
	alarm(RUN_SECONDS);
	wait_for_setup();
	body((void *)(long)thread);
}

/* The keeper */

static pid_t process_pid[MAX_PROCESSES], outside_pid[MAX_THREADS];

/* Whether a child has ended, and how; it is not reaped: secondsight.ko may still look at its threads. */
static int is_gone(pid_t pid, int *status)
{
	siginfo_t info = {0};

	if (waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid != pid)
		return 0;
	*status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
	return 1;
}

int kill_process(int process)
{
	left->killed[process] = 1; /* before it is, for who looks how it ended */
	return kill(left->pid[process], SIGKILL);
}

static int has_ended(int process)
{
	pid_t pid = scenario.forked[process] ? left->forked[process] : process_pid[process];
	int status;

	if (!pid)
		return 1;
	if (!is_gone(pid, &status))
		return 0;
	left->status[process] = left->killed[process] && status == SIGKILL ? 0 : status;
	return 1;
}

/* Until every process that lives is so far. */
static void wait_for_stage(int stage)
{
	for (int process = 0; process < scenario.processes; process++)
		for (int now; (now = left->stage[process]) < stage && !has_ended(process);)
			wait_while(&left->stage[process], now);
}

static void give_turns(int section)
{
	for (int i = 0; i < scenario.ops; i++) {
		int process = scenario.op[i].process;
		if (scenario.op[i].section != section || has_ended(process))
			continue;
		say_number(&left->turn, i + 1);
		while (left->turn && !has_ended(process))
			wait_while(&left->turn, i + 1);
		left->turn = 0;
	}
}

static void keep(int forced, void *(*body)(void *))
{
	int status;

	for (int i = 0; i < scenario.threads; i++) {
		if (!outlives(i))
			continue;
		outside_pid[i] = fork();
		if (!outside_pid[i]) {
			live_outside(i, body);
			_exit(0);
		}
		if (outside_pid[i] < 0)
			_exit(1);
	}
	for (int process = 0; process < scenario.processes; process++) {
		if (scenario.forked[process])
			continue;
		/* As fork(), which has no flags. */
		pid_t pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
		if (!pid) {
			live(process, forced, body);
			_exit(0);
		}
		if (pid < 0)
			_exit(1);
		process_pid[process] = pid;
	}
	give_turns(SETUP);
	wait_for_stage(SET_UP);
	int waiting = 0;
	for (int i = 0; i < scenario.threads; i++)
		waiting += outside_pid[i] || !has_ended(process_of(i));
	left->waiting = waiting;
	say_number(&left->is_set_up, 1);
	wait_for_stage(QUIET);
	for (int i = 0; i < scenario.threads; i++)
		while (outside_pid[i] && !is_gone(outside_pid[i], &status))
			usleep(LOOK_NS / 1000);
	give_turns(FINAL);
	if (forced)
		probe_devices();
	say_number(&left->is_over, 1);
	for (int process = 0; process < scenario.processes; process++)
		while (!has_ended(process))
			usleep(LOOK_NS / 10000);
}

void child(int forced)
{
	void *(*body)(void *) = forced ? forced_thread_main : thread_main;

	catch_faults();
	join_memcg();
	thread_body = body;
	has_keeper = scenario.processes > 1;
	for (int i = 0; i < scenario.threads; i++)
		has_keeper |= outlives(i);
	if (has_keeper) {
		keep(forced, body);
	} else {
		live(0, forced, body);
		if (forced)
			probe_devices();
	}
	_exit(0);
}
