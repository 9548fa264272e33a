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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OUTCOMES = 256, RUN_SECONDS = 5 };

struct scenario scenario;

static atomic_int *results; /* shared with the parent, one an operation */
static atomic_int waiting;
static uint64_t run_seed;
static int port;

/* Talking to the host */

void say(const char *format, ...)
{
	static char line[8192];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	for (int done = 0; done < length;) {
		ssize_t n = write(port, line + done, length - done);
		if (n <= 0)
			end_machine();
		done += n;
	}
}

static char *next_line(void)
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
			results[i] = perform(&scenario.op[i]);
		}
}

static void *thread_main(void *number)
{
	uint64_t state = seed_of((long)number);

	prctl(PR_SET_TIMERSLACK, 1);
	waiting--;
	while (waiting > 0)
		sched_yield();
	/* Sometimes a thread that wakes takes the CPU at once, wherever the others are. */
	if (draw(&state) % 3 == 0)
		sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
	run_section((long)number, &state);
	return NULL;
}

static void child(void)
{
	pthread_t thread[MAX_THREADS];
	uint64_t state = seed_of(1000);
	int first = draw(&state) % MAX_THREADS;

	catch_faults();
	alarm(RUN_SECONDS);
	run_section(SETUP, NULL);
	waiting = scenario.threads;
	for (int i = 0; i < scenario.threads; i++) {
		long number = (i + first) % scenario.threads;
		if (pthread_create(&thread[i], NULL, thread_main, (void *)number))
			_exit(1);
	}
	for (int i = 0; i < scenario.threads; i++)
		pthread_join(thread[i], NULL);
	run_section(FINAL, NULL);
	_exit(0);
}

/* Many runs, in the parent: distinct outcomes are counted */

static struct outcome {
	int count, status;
	int result[MAX_OPS];
} outcomes[MAX_OUTCOMES];

static void say_outcome(const struct outcome *outcome)
{
	char text[MAX_OPS * 16], *at = text;

	*at = 0;
	for (int i = 0; i < scenario.ops; i++) {
		static const char *const what[] = {"none", "ok", "skipped", "page", "errno", "signal", "torn"};
		int result = outcome->result[i], kind = result >> 16;
		at += sprintf(at, "%s\"%s", i ? "," : "", what[kind]);
		if (kind >= PAGE_VALUE >> 16 && kind <= SIGNAL >> 16)
			at += sprintf(at, ":%d", result & 0xffff);
		at += sprintf(at, "\"");
	}
	char ended[16] = "exit";
	if (WIFSIGNALED(outcome->status))
		sprintf(ended, "signal:%d", WTERMSIG(outcome->status));
	else if (WEXITSTATUS(outcome->status))
		sprintf(ended, "failed");
	say("{\"count\":%d,\"ended\":\"%s\",\"results\":[%s]}\n", outcome->count, ended, text);
}

static void run(uint64_t seed, int runs)
{
	int distinct = 0, hung = 0, n;

	for (n = 0; n < runs && !hung; n++) {
		memset((void *)results, 0, sizeof(int) * MAX_OPS);
		run_seed = seed + n;
		pid_t pid = fork();
		if (pid < 0) {
			say("{\"error\":\"fork: %s\"}\n", strerror(errno));
			return;
		}
		if (!pid)
			child();
		struct outcome now = {.count = 1};
		waitpid(pid, &now.status, 0);
		hung = WIFSIGNALED(now.status) && WTERMSIG(now.status) == SIGALRM;
		memcpy(now.result, (void *)results, sizeof now.result);
		int i = 0;
		while (i < distinct && (outcomes[i].status != now.status ||
					memcmp(outcomes[i].result, now.result, sizeof now.result)))
			i++;
		if (i < distinct)
			outcomes[i].count++;
		else
			outcomes[distinct++] = now;
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
	return NULL;
}

static void read_scenario(char *line)
{
	const char *problem = NULL;

	scenario.ops = 0;
	if (sscanf(line, "scenario %63s %d %d %d", scenario.name, &scenario.handles, &scenario.threads, &scenario.expected) != 4 ||
	    scenario.handles > MAX_HANDLES || scenario.threads > MAX_THREADS || scenario.expected > MAX_OPS) {
		say("{\"error\":\"a scenario that does not fit this agent\"}\n");
		return;
	}
	note_scenario(scenario.name);
	for (int i = 0; i < scenario.expected; i++) {
		const char *found = read_op(next_line(), &scenario.op[i]);
		problem = problem ? problem : found;
	}
	if (problem) {
		say("{\"error\":\"%s\"}\n", problem);
		return;
	}
	scenario.ops = scenario.expected;
	say("{\"ready\":\"%s\"}\n", scenario.name);
}

int main(int count, char **words)
{
	struct utsname kernel;

	port = begin_machine(count, words);
	results = mmap(NULL, sizeof(int) * MAX_OPS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uname(&kernel);
	int udmabuf = open_devices();
	drop_rights();
	say("{\"agent\":1,\"release\":\"%s\",\"udmabuf\":%s}\n", kernel.release, udmabuf ? "true" : "false");
	for (;;) {
		char *line = next_line();
		unsigned long long seed;
		int runs;
		if (!strncmp(line, "scenario ", 9))
			read_scenario(line);
		else if (sscanf(line, "run %llu %d", &seed, &runs) == 2 && scenario.ops && runs > 0 && runs <= MAX_OUTCOMES)
			run(seed, runs);
		else if (!strcmp(line, "hang"))
			for (;;)
				pause();
		else if (machine_command(line))
			continue;
		else
			say("{\"error\":\"a command this agent does not know\"}\n");
	}
}
