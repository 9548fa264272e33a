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
 *       -> {"count":N,"ended":["exit"],"results":["ok","page:97","errno:22","signal:11","skipped","none"]}
 *       -> {"done":N}                       fewer than RUNS after a run that hung
 *                                           `driver NAME` before its ops: the form of secondsight.ko's mirror;
 *                                           `probe D H+P...`: the pages (handle and page) of device D's table that a forced
 *                                           run looks at in the end; `huge`: two pages are a huge page; `processes N`: of which `in P` says for the ops that
 *                                           follow whose they are (0, without one)
 *   forced STEPS POINTS                     runs it once by a schedule; see forced.c
 *   hook FUNCTION                           hold points at a kernel function's entry and exit
 *       -> {"hooked":"FUNCTION","errno":N}
 *   hang                                    stop answering: a test of the other side
 *   crash, program NAME                     in a guest: see guest.c
 *
 * Anything else, or a scenario that does not fit, is answered with {"error":"..."}. No scenario is
 * compiled in: an operation is a row of the table in ops.c. The other side closing the port ends the machine.
 *
 * One run is one forked child (processes.c), so that nothing outlives it: memory, files, a crash. The results lie
 * in memory shared with the parent and survive the child.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "secondsight.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_OUTCOMES = 256 };

struct scenario scenario;

struct left_behind *left;

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

/* Many runs, in the parent: distinct outcomes are counted */

static struct outcome {
	int count;
	struct left_behind left;
} outcomes[MAX_OUTCOMES];

void say_results(const struct left_behind *run)
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
	say("\"ended\":[");
	for (int process = 0; process < scenario.processes; process++) {
		int status = run->status[process];
		if (WIFSIGNALED(status))
			say("%s\"signal:%d\"", process ? "," : "", WTERMSIG(status));
		else
			say("%s\"%s\"", process ? "," : "", WEXITSTATUS(status) ? "failed" : "exit");
	}
	say("],\"results\":[%s]", text);
}

/* The run's child, and whatever outlived it: that is this process's by now. Of several processes the child has noted how they ended. */
void wait_for(pid_t child)
{
	int status;

	waitpid(child, &status, 0);
	if (status)
		left->status[0] = status;
	while (waitpid(-1, NULL, 0) > 0)
		;
}

static void say_outcome(const struct outcome *outcome)
{
	say("{\"count\":%d,", outcome->count);
	say_results(&outcome->left);
	say("}\n");
}

const char *place_what_is_needed(void)
{
	const char *problem = place_movable(scenario.needs_movable);

	if (!problem)
		problem = place_pool(scenario.needs_pool);
	if (!problem)
		problem = place_dax(scenario.needs_dax);
	if (!problem)
		problem = place_fs_dax(scenario.needs_fs_dax);
	if (!problem)
		problem = place_disk_files(scenario.needs_disk);
	if (!problem)
		problem = place_limits(scenario.needs_limits);
	return problem ? problem : place_cma(scenario.needs_cma);
}

static void run(uint64_t seed, int runs)
{
	int distinct = 0, hung = 0, n;

	for (n = 0; n < runs && !hung; n++) {
		const char *problem = place_what_is_needed();
		if (problem) {
			say("{\"error\":\"cannot run %s: %s\"}\n", scenario.name, problem);
			return;
		}
		memset((void *)left, 0, sizeof *left);
		seed_run(seed + n);
		session = scenario.needs_module ? open(SS_DEVICE, O_RDWR) : -1;
		pid_t pid = scenario.needs_module && session < 0 ? -1 : fork();
		if (pid < 0) {
			say("{\"error\":\"cannot run %s: %s\"}\n", scenario.name, strerror(errno));
			return;
		}
		if (!pid)
			child(0);
		int i = 0;
		wait_for(pid);
		if (session >= 0)
			close(session);
		for (int process = 0; process < scenario.processes; process++)
			hung |= WIFSIGNALED(left->status[process]) && WTERMSIG(left->status[process]) == SIGALRM;
		while (i < distinct && (memcmp((void *)outcomes[i].left.status, (void *)left->status, sizeof left->status) ||
					memcmp((void *)outcomes[i].left.result, (void *)left->result, sizeof left->result)))
			i++;
		if (i < distinct) {
			outcomes[i].count++;
			continue;
		}
		outcomes[distinct].count = 1;
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
	scenario.needs_movable |= needs_movable(op->kind);
	scenario.needs_pool |= needs_pool(op->kind);
	scenario.needs_dax |= needs_dax(op->kind);
	scenario.needs_fs_dax |= needs_fs_dax(op->kind);
	scenario.needs_disk |= needs_disk(op->kind);
	scenario.needs_cma |= needs_cma(op->kind);
	scenario.needs_limits |= needs_limits(op->kind);
	scenario.needs_memcg |= needs_memcg(op->kind);
	return NULL;
}

static const char *read_probes(char *line)
{
	char *save, *word = strtok_r(line, " ", &save);
	int device = (word = strtok_r(NULL, " ", &save)) ? atoi(word) : -1;

	if (device < 0 || device >= scenario.handles)
		return "a probe of no device of its scenario";
	while ((word = strtok_r(NULL, " ", &save))) {
		int handle, page;
		if (scenario.probes == MAX_PROBES || sscanf(word, "%d+%d", &handle, &page) != 2 || handle < 0 || page < 0 ||
		    handle >= scenario.handles || page >= SS_WINDOW_PAGES)
			return "a probe that does not fit its scenario";
		scenario.probe[scenario.probes++] = (struct probe){device, handle, page};
	}
	return NULL;
}

static void read_scenario(char *line)
{
	const char *problem = NULL;

	memset(&scenario, 0, sizeof scenario);
	strcpy(scenario.driver, "right");
	scenario.processes = 1;
	scenario.page_bits = PAGE_BITS;
	if (sscanf(line, "scenario %63s %d %d %d", scenario.name, &scenario.handles, &scenario.threads, &scenario.expected) != 4 ||
	    scenario.handles > MAX_HANDLES || scenario.threads > MAX_THREADS || scenario.expected > MAX_OPS) {
		say("{\"error\":\"a scenario that does not fit this agent\"}\n");
		return;
	}
	note_scenario(scenario.name);
	for (int i = 0, process = 0; i < scenario.expected;) {
		char *next = next_line();
		const char *found = NULL;
		int forked, handle;
		if (!strncmp(next, "driver ", 7))
			snprintf(scenario.driver, sizeof scenario.driver, "%s", next + 7);
		else if (!strcmp(next, "huge"))
			scenario.page_bits = HUGE_BITS;
		else if (!strncmp(next, "probe ", 6))
			found = read_probes(next);
		else if (sscanf(next, "forked %d %d", &forked, &handle) == 2)
			found = forked < 1 || forked >= MAX_PROCESSES || handle < 0 || handle >= scenario.handles ?
				"a process that its scenario does not have" : (scenario.forked[forked] = handle + 1, NULL);
		else if (sscanf(next, "processes %d", &scenario.processes) == 1 || sscanf(next, "in %d", &process) == 1)
			found = scenario.processes < 1 || scenario.processes > MAX_PROCESSES || process < 0 || process >= scenario.processes ?
				"a process that its scenario does not have" : NULL;
		else {
			scenario.op[i].process = process;
			found = read_op(next, &scenario.op[i++]);
		}
		problem = problem ? problem : found;
	}
	if (!problem && scenario.needs_module && !has_module())
		problem = "an op that needs secondsight.ko, which is not loaded";
	if (problem) {
		say("{\"error\":\"%s\"}\n", problem);
		return;
	}
	scenario.ops = scenario.expected;
	scenario.loaded = 1;
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
	reserve_descriptors(port);
	left = mmap(NULL, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uname(&kernel);
	int udmabuf = open_devices(), swap = start_swap();
	begin_cma();
	drop_rights();
	keep_page_tables();
	note_memory();
	say("{\"agent\":1,\"release\":\"%s\",\"udmabuf\":%s,\"limits\":%s,\"huge\":%s,\"hugetlb\":%s,\"nodes\":%s,\"swap\":%s,\"movable\":%s,\"dax\":%s,\"fs_dax\":%s,\"disk\":%s,\"cma\":%s,\"memcg\":%s,\"compaction\":%s,\"userfaultfd\":%s,\"module\":%s}\n", kernel.release,
	    udmabuf ? "true" : "false", has_limits() ? "true" : "false", has_huge() ? "true" : "false", has_hugetlb() ? "true" : "false", has_nodes() ? "true" : "false", swap ? "true" : "false", has_movable() ? "true" : "false", has_dax() ? "true" : "false", has_fs_dax() ? "true" : "false", has_disk_files() ? "true" : "false", has_cma() ? "true" : "false", has_memcg() ? "true" : "false", has_compaction() ? "true" : "false", has_userfaultfd() ? "true" : "false", has_module() ? "true" : "false");
	for (;;) {
		char *line = next_line();
		unsigned long long seed, points;
		int runs, steps;
		if (!strncmp(line, "scenario ", 9))
			read_scenario(line);
		else if (sscanf(line, "run %llu %d", &seed, &runs) == 2 && scenario.loaded && runs > 0 && runs <= MAX_OUTCOMES)
			run(seed, runs);
		else if (sscanf(line, "forced %d %llx", &steps, &points) == 2 && scenario.loaded)
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
