/*
 * The agent: /init of a kernel booted to run scenarios (guest.c), or a plain process on the running one (host.c).
 *
 * It reads lines from its port and answers with JSON lines on the same port:
 *
 *   scenario NAME HANDLES THREADS OPS       begins a scenario; OPS lines follow
 *   op SECTION KIND MAKES ARG...            SECTION: s (setup), f (final) or a thread's number;
 *                                           MAKES: the handle it makes, or -1; arguments are numbers
 *                                           (an absent one is -1; see kernels/encode.py)
 *       -> {"ready":"NAME"}
 *   run SEED RUNS                           runs it; one line for each distinct outcome, then done
 *       -> {"count":N,"ended":"exit","results":["ok","page:97","errno:22","signal:11","skipped","none"]}
 *       -> {"done":N}                       fewer than RUNS after a run that hung
 *                                           `driver NAME` before its ops: the form of secondsight.ko's mirror;
 *                                           `probe H+P...`: the pages (handle and page) that a forced run looks at in the end
 *   forced STEPS POINTS                     runs it once by a schedule; see forced.c
 *   hook FUNCTION                           hold points at a kernel function's entry and exit
 *       -> {"hooked":"FUNCTION","errno":N}
 *   hang                                    stop answering: a test of the other side
 *   crash, program NAME                     in a guest: see guest.c
 *
 * Anything else, or a scenario that does not fit, is answered with {"error":"..."}. No scenario is
 * compiled in: an operation is a row of the table in ops.c. The other side closing the port ends the machine.
 *
 * One run is one forked child, so that nothing outlives it: memory, files, a crash. The results lie
 * in memory shared with the parent and survive the child. There is one CPU; interleavings vary by
 * random pauses between operations, of a kind and length drawn from the run's seed.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "secondsight.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OUTCOMES = 256, RUN_SECONDS = 5 };

struct scenario scenario;

struct left_behind *left;

static uint64_t run_seed;
static int port;

/* Talking to the host */

/* An answer is a line; it goes out when it is whole. */
void say(const char *format, ...)
{
	static char line[1 << 15];
	static int length;
	va_list args;

	va_start(args, format);
	length += vsnprintf(line + length, sizeof line - length, format, args);
	va_end(args);
	if (length >= (int)sizeof line)
		abort(); /* init's end is a panic */
	if (!length || line[length - 1] != '\n')
		return;
	for (int done = 0; done < length;) {
		ssize_t n = write(port, line + done, length - done);
		if (n <= 0)
			end_machine();
		done += n;
	}
	length = 0;
}

char *next_line(void)
{
	static char buffer[1 << 16];
	static size_t start, end;

	for (;;) {
		char *newline = memchr(buffer + start, '\n', end - start);
		if (newline) {
			char *line = buffer + start;
			*newline = 0;
			start = newline + 1 - buffer;
			return line;
		}
		memmove(buffer, buffer + start, end - start);
		end -= start;
		start = 0;
		ssize_t n = end < sizeof buffer ? read(port, buffer + end, sizeof buffer - end) : 0;
		if (n <= 0)
			end_machine(); /* the other side is gone */
		end += n;
	}
}

/* One run, in the child */

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

static void run_section(int section, uint64_t *state)
{
	for (int i = 0; i < scenario.ops; i++)
		if (scenario.op[i].section == section) {
			if (state)
				pause_a_little(state);
			left->result[i] = perform(&scenario.op[i]);
		}
}

static void *thread_main(void *number)
{
	uint64_t state = seed_of((long)number);

	prctl(PR_SET_TIMERSLACK, 1);
	left->waiting--;
	while (left->waiting > 0)
		sched_yield();
	/* Sometimes a thread that wakes takes the CPU at once, wherever the others are. */
	if (draw(&state) % 3 == 0)
		sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
	run_section((long)number, &state);
	return NULL;
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
		}
	ioctl(session, SS_END);
	return NULL;
}

/* Whether a thread is the device's alone. When the process exits it goes on: then it lives in a process of its own, made
 * before the setup: what a fork shares copy-on-write would be invalidated at the next write. */
static int outlives(int thread)
{
	int exits = 0, ops = 0, outside = 0;

	for (int i = 0; i < scenario.ops; i++) {
		const struct op *op = &scenario.op[i];
		exits |= op->kind == find_kind("exit");
		ops += op->section == thread;
		outside += op->section == thread && is_outside(op->kind);
	}
	return exits && ops && ops == outside;
}

static pid_t start_outside(void *(*body)(void *), long number)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	alarm(RUN_SECONDS);
	while (!left->is_set_up)
		sched_yield();
	body((void *)number);
	_exit(0);
}

void child(int forced)
{
	pthread_t thread[MAX_THREADS];
	pid_t outside[MAX_THREADS] = {0};
	uint64_t state = seed_of(1000);
	int first = forced ? 0 : draw(&state) % MAX_THREADS;
	void *(*body)(void *) = forced ? forced_thread_main : thread_main;

	catch_faults();
	alarm(RUN_SECONDS);
	for (int i = 0; i < scenario.threads; i++)
		if (outlives(i) && (outside[i] = start_outside(body, i)) < 0)
			_exit(1);
	run_section(SETUP, NULL);
	left->waiting = scenario.threads;
	if (forced)
		populate_memory();
	left->is_set_up = 1;
	for (int i = 0; i < scenario.threads; i++) {
		long number = (i + first) % scenario.threads;
		if (!outside[number] && pthread_create(&thread[number], NULL, body, (void *)number))
			_exit(1);
	}
	for (int i = 0; i < scenario.threads; i++) {
		if (outside[i])
			waitpid(outside[i], NULL, 0);
		else
			pthread_join(thread[i], NULL);
	}
	run_section(FINAL, NULL);
	if (forced)
		probe_devices();
	_exit(0);
}

/* Many runs, in the parent: distinct outcomes are counted */

static struct outcome {
	int count, status;
	struct left_behind left;
} outcomes[MAX_OUTCOMES];

void say_results(int status, const struct left_behind *run)
{
	char text[MAX_OPS * 16], *at = text;

	*at = 0;
	for (int i = 0; i < scenario.ops; i++) {
		static const char *const what[] = {"none", "ok", "skipped", "page", "errno", "signal", "torn", "differs"};
		int result = run->result[i], kind = result >> 16;
		at += sprintf(at, "%s\"%s", i ? "," : "", what[kind]);
		if (result & 0xffff || kind == PAGE_VALUE >> 16)
			at += sprintf(at, ":%d", result & 0xffff);
		at += sprintf(at, "\"");
	}
	char ended[16] = "exit";
	if (WIFSIGNALED(status))
		sprintf(ended, "signal:%d", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		sprintf(ended, "failed");
	say("\"ended\":\"%s\",\"results\":[%s]", ended, text);
}

/* Processes that outlived the one under test are this one's by now. */
void wait_for_others(void)
{
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void say_outcome(const struct outcome *outcome)
{
	say("{\"count\":%d,", outcome->count);
	say_results(outcome->status, &outcome->left);
	say("}\n");
}

static void run(uint64_t seed, int runs)
{
	int distinct = 0, hung = 0, n;

	for (n = 0; n < runs && !hung; n++) {
		memset((void *)left, 0, sizeof *left);
		run_seed = seed + n;
		session = scenario.needs_module ? open(SS_DEVICE, O_RDWR) : -1;
		pid_t pid = scenario.needs_module && session < 0 ? -1 : fork();
		if (pid < 0) {
			say("{\"error\":\"cannot run %s: %s\"}\n", scenario.name, strerror(errno));
			return;
		}
		if (!pid)
			child(0);
		int status, i = 0;
		waitpid(pid, &status, 0);
		wait_for_others();
		if (session >= 0)
			close(session);
		hung = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
		while (i < distinct && (outcomes[i].status != status ||
					memcmp((void *)outcomes[i].left.result, (void *)left->result, sizeof left->result)))
			i++;
		if (i < distinct) {
			outcomes[i].count++;
			continue;
		}
		outcomes[distinct].count = 1;
		outcomes[distinct].status = status;
		memcpy((void *)&outcomes[distinct++].left, (void *)left, sizeof *left);
	}
	for (int i = 0; i < distinct; i++)
		say_outcome(&outcomes[i]);
	say("{\"done\":%d}\n", n);
}

/* Commands */

static const char *read_op(char *line, struct op *op)
{
	char *save, *word = strtok_r(line, " ", &save);
	word = strtok_r(NULL, " ", &save);
	if (!word)
		return "an op without a section";
	op->section = *word == 's' ? SETUP : *word == 'f' ? FINAL : atoi(word);
	char *kind = strtok_r(NULL, " ", &save);
	op->kind = kind ? find_kind(kind) : -1;
	if (op->kind < 0)
		return "an op this agent does not know";
	word = strtok_r(NULL, " ", &save);
	op->makes = word ? atoi(word) : -1;
	for (op->count = 0; (word = strtok_r(NULL, " ", &save)); op->count++) {
		if (op->count == MAX_ARGS)
			return "an op with too many arguments";
		op->arg[op->count] = atol(word);
	}
	if (op->section >= scenario.threads || !is_well_formed(op))
		return "an op that does not fit its scenario";
	scenario.needs_module |= needs_module(op->kind);
	return NULL;
}

static const char *read_probes(char *line)
{
	char *save, *word = strtok_r(line, " ", &save);

	while ((word = strtok_r(NULL, " ", &save))) {
		int handle, page;
		if (scenario.probes == MAX_PROBES || sscanf(word, "%d+%d", &handle, &page) != 2 || handle < 0 || page < 0 ||
		    handle >= scenario.handles || page >= SS_WINDOW_PAGES)
			return "a probe that does not fit its scenario";
		scenario.probe[scenario.probes++] = handle << 8 | page;
	}
	return NULL;
}

static void read_scenario(char *line)
{
	const char *problem = NULL;

	memset(&scenario, 0, sizeof scenario);
	strcpy(scenario.driver, "right");
	if (sscanf(line, "scenario %63s %d %d %d", scenario.name, &scenario.handles, &scenario.threads, &scenario.expected) != 4 ||
	    scenario.handles > MAX_HANDLES || scenario.threads > MAX_THREADS || scenario.expected > MAX_OPS) {
		say("{\"error\":\"a scenario that does not fit this agent\"}\n");
		return;
	}
	note_scenario(scenario.name);
	for (int i = 0; i < scenario.expected;) {
		char *next = next_line();
		const char *found = NULL;
		if (!strncmp(next, "driver ", 7))
			snprintf(scenario.driver, sizeof scenario.driver, "%s", next + 7);
		else if (!strncmp(next, "probe ", 6))
			found = read_probes(next);
		else
			found = read_op(next, &scenario.op[i++]);
		problem = problem ? problem : found;
	}
	if (!problem && scenario.needs_module && !has_module())
		problem = "an op that needs secondsight.ko, which is not loaded";
	if (problem) {
		say("{\"error\":\"%s\"}\n", problem);
		return;
	}
	scenario.ops = scenario.expected;
	say("{\"ready\":\"%s\"}\n", scenario.name);
}

static void hook(const char *function)
{
	struct ss_hook hook = {0};
	int file = open(SS_DEVICE, O_RDWR | O_CLOEXEC);

	snprintf(hook.function, sizeof hook.function, "%s", function);
	int problem = file < 0 || ioctl(file, SS_HOOK, &hook) ? errno : 0;
	close(file);
	say("{\"hooked\":\"%s\",\"errno\":%d}\n", hook.function, problem);
}

int main(int count, char **words)
{
	struct utsname kernel;

	port = begin_machine(count, words);
	left = mmap(NULL, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uname(&kernel);
	int udmabuf = open_devices();
	drop_rights();
	note_memory();
	say("{\"agent\":1,\"release\":\"%s\",\"udmabuf\":%s,\"module\":%s}\n", kernel.release, udmabuf ? "true" : "false",
	    has_module() ? "true" : "false");
	for (;;) {
		char *line = next_line();
		unsigned long long seed, points;
		int runs, steps;
		if (!strncmp(line, "scenario ", 9))
			read_scenario(line);
		else if (sscanf(line, "run %llu %d", &seed, &runs) == 2 && scenario.ops && runs > 0 && runs <= MAX_OUTCOMES)
			run(seed, runs);
		else if (sscanf(line, "forced %d %llx", &steps, &points) == 2 && scenario.ops)
			run_forced(steps, points);
		else if (!strncmp(line, "hook ", 5))
			hook(line + 5);
		else if (!strcmp(line, "hang"))
			for (;;)
				pause();
		else if (machine_command(line))
			continue;
		else
			say("{\"error\":\"a command this agent does not know\"}\n");
	}
}
