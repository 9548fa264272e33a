/*
 * Forced runs: this process holds the threads of a child by secondsight.ko and lets them go one at a time,
 * as a schedule says.
 *
 *   forced STEPS POINTS                     runs the loaded scenario once; STEPS lines follow; POINTS has bit N set
 *                                           when hold point N is armed
 *   step THREAD [THREAD WHERE]...           let THREAD go; each thread that moved, and where it has settled then: the
 *                                           number of a hold point, op:N, b (blocked), e (ended)
 *       -> {"forced":{"settled":N,"differs":null},"ended":[...],"results":[...],"retries":[...],"late":[...],
 *           "probe":["none","same+w",...],"timed_out":0}
 *
 * `settled` counts the steps that went as the schedule says. When one does not, `differs` says which, what was
 * expected of which thread and where it is (r: it still runs); nobody is held from then on. At the start all
 * threads are before their first operations. Step -1 is that start.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "secondsight.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_STEPS = 1024, SETTLE_MS = 2500, HOLD_MS = 4000, MAX_RANGES = 64, STACK_BYTES = 48 << 10 };

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* Memory: a thread that is held may own the mmap lock, and another's page fault on the agent's own memory would
 * then wait for it, as nothing in the scenario does. */

static struct {
	char *start, *end;
	int writable;
} memory[MAX_RANGES];
static int ranges;

void note_memory(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[256], mode[8];
	unsigned long start, end;

	while (maps && ranges < MAX_RANGES && fgets(line, sizeof line, maps))
		if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && *mode == 'r' && !strstr(line, "[v")) {
			memory[ranges].start = (char *)start;
			memory[ranges].end = (char *)end;
			memory[ranges++].writable = mode[1] == 'w';
		}
	if (maps)
		fclose(maps);
}

void populate_memory(void)
{
	for (int i = 0; i < ranges; i++)
		madvise(memory[i].start, memory[i].end - memory[i].start,
			memory[i].writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

void populate_stack(void)
{
	volatile char bytes[STACK_BYTES];

	for (int i = 0; i < STACK_BYTES; i += PAGE)
		bytes[i] = 0;
	(void)bytes[0];
}

/* A schedule */

static struct step {
	int thread;
	unsigned where[MAX_THREADS]; /* where each thread is after this step */
} schedule[MAX_STEPS];

static unsigned where_of(const char *word)
{
	if (*word == 'b')
		return SS_BLOCKED;
	if (*word == 'e')
		return SS_ENDED;
	return strncmp(word, "op:", 3) ? (unsigned)atoi(word) : (unsigned)(SS_OP + atoi(word + 3));
}

static const char *word_of(unsigned where)
{
	static char words[2][16];
	static int next;
	char *word = words[next++ % 2];

	if (where >= SS_OP)
		sprintf(word, "\"op:%u\"", where - SS_OP);
	else
		sprintf(word, where == SS_BLOCKED ? "\"b\"" : where == SS_ENDED ? "\"e\"" : where == SS_RUNNING ? "\"r\"" : "%u", where);
	return word;
}

static const char *read_step(char *line, struct step *step, const unsigned *before)
{
	char *save, *word = strtok_r(line, " ", &save);

	if (!word || strcmp(word, "step"))
		return "a schedule with fewer steps than it says";
	memcpy(step->where, before, sizeof step->where);
	word = strtok_r(NULL, " ", &save);
	step->thread = word ? atoi(word) : -1;
	if (step->thread < 0 || step->thread >= scenario.threads)
		return "a step of a thread that the scenario does not have";
	while ((word = strtok_r(NULL, " ", &save))) {
		int thread = atoi(word);
		word = strtok_r(NULL, " ", &save);
		if (!word || thread < 0 || thread >= scenario.threads)
			return "a step that says of no thread of the scenario where it is";
		step->where[thread] = where_of(word);
	}
	return NULL;
}

static void at_start(unsigned *where)
{
	for (int thread = 0; thread < MAX_THREADS; thread++)
		where[thread] = SS_ENDED;
	for (int i = 0; i < scenario.ops; i++)
		if (scenario.op[i].section >= 0)
			where[scenario.op[i].section] = SS_OP;
}

/* The coordinator */

static struct {
	int settled, differs, step, thread;
	unsigned expected, got, timed_out;
} forced;

/* Let a thread go, or nobody, and see whether all settle where they should. */
static int take_step(int number, int thread, const unsigned *expected)
{
	struct ss_settle settle = {.release = thread, .timeout_ms = SETTLE_MS};
	int refused = ioctl(session, SS_SETTLE, &settle);

	if (refused) {
		/* It is not held: then where is it? */
		settle.release = -1;
		ioctl(session, SS_SETTLE, &settle);
	}
	forced.timed_out = settle.timed_out;
	for (int i = 0; i < scenario.threads; i++) {
		if (settle.where[i] == expected[i] && !(refused && i == thread))
			continue;
		forced.differs = 1;
		forced.step = number;
		forced.thread = i;
		forced.expected = expected[i];
		forced.got = settle.where[i];
		return 0;
	}
	return 1;
}

static void say_numbers(const char *name, atomic_int *number)
{
	say(",\"%s\":[", name);
	for (int i = 0; i < scenario.ops; i++)
		say("%s%d", i ? "," : "", number[i]);
	say("]");
}

static const char *found_word(int found)
{
	static const char *const words[] = {"none", "none", "same", "other"};
	static char text[16];

	sprintf(text, "%s%s", words[found & 3], found & SS_PROBE_WRITABLE ? "+w" : "");
	return text;
}

static void say_forced(void)
{
	say("{\"forced\":{\"settled\":%d,\"differs\":", forced.settled);
	if (forced.differs)
		say("{\"step\":%d,\"thread\":%d,\"expected\":%s,\"got\":%s}", forced.step, forced.thread,
		    word_of(forced.expected), word_of(forced.got));
	else
		say("null");
	say("},");
	say_results(left);
	say_numbers("retries", left->begun);
	say_numbers("late", left->late);
	say(",\"probe\":[");
	for (int i = 0; i < scenario.probes; i++)
		say("%s\"%s\"", i ? "," : "", found_word(left->probe[i]));
	say("],\"timed_out\":%u}\n", forced.timed_out);
}

void run_forced(int steps, unsigned long long points)
{
	const char *problem = steps < 0 || steps > MAX_STEPS ? "a schedule that is too long" : has_module() ? NULL : "no secondsight.ko";
	unsigned start[MAX_THREADS];
	struct ss_arm arm = {.points = points, .threads = scenario.threads, .hold_ms = HOLD_MS};

	at_start(start);
	for (int i = 0; i < steps; i++) {
		char *line = next_line();
		if (!problem)
			problem = read_step(line, &schedule[i], i ? schedule[i - 1].where : start);
	}
	if (!problem)
		problem = place_what_is_needed();
	session = problem ? -1 : open(SS_DEVICE, O_RDWR);
	if (!problem && (session < 0 || ioctl(session, SS_ARM, &arm)))
		problem = strerror(errno);
	memset((void *)left, 0, sizeof *left);
	pid_t pid = problem ? -1 : fork();
	if (!pid)
		child(1);
	if (pid < 0) {
		say("{\"error\":\"forced: %s\"}\n", problem ? problem : strerror(errno));
		close(session);
		session = -1;
		return;
	}
	memset(&forced, 0, sizeof forced);
	if (take_step(-1, -1, start))
		while (forced.settled < steps && take_step(forced.settled, schedule[forced.settled].thread, schedule[forced.settled].where))
			forced.settled++;
	ioctl(session, SS_FREE);
	wait_for(pid);
	if (!left->probed)
		probe_devices();
	say_forced();
	close(session);
	session = -1;
}
