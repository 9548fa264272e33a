/*
 * The half of a conformer that speaks with the model: see conform.h. Commands come as lines on standard input, in batches
 * that a line "." ends; one line answers each command that asks for one, on standard output.
 *
 *   reset A B ...            the world as it was, then ss_setup(A B ...); threads have no operations
 *   thread T OP A B C ...    one more operation of a thread
 *   begin                    every thread runs to its first place                                    answers
 *   go T GIVEN K FROM TO ..  thread T goes on, with GIVEN, to the first place of kind K (a number) in a function that lies
 *                            at FROM to TO, or to one of the further such places                     answers
 *   stay T                   the thread is where it has to be already                                answers
 *   poke WHAT A B ...        set what the model owns
 *   save N / load N          keep the state as number N, or put it back
 *   kind N NAME              give a kind of place a number
 *
 * An answer: which of the places was reached (-1: another one), the place as KIND@ADDRESS, places of the same thread that it
 * ran through, which threads can go on (a letter each), warnings in this step, and the look at the state.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "conform.h"

#ifndef SS_HEAP
#define SS_HEAP (256 << 10)
#endif
#define STACK (24 << 10)
#define OPERATIONS 24
#define ARGUMENTS 8
#define KINDS 128
#define SLOTS 4096

struct operation {
	int code;
	long argument[ARGUMENTS];
};

struct thread {
	void *sp;
	int number, exists, ended, operations, ahead;
	const char *kind;
	const void *from;
	int (*ready)(void *);
	void *what;
	long given, result;
	struct operation operation[OPERATIONS];
};

/* Everything that a state is made of, with the kernel's own variables (below). */
struct world {
	struct thread thread[SS_THREADS];
	int running;
	int warnings;
	unsigned long used;
	char stack[SS_THREADS][STACK] __attribute__((aligned(64)));
	char heap[SS_HEAP] __attribute__((aligned(64)));
};

static struct world world __attribute__((aligned(4096)));
static void *scheduler;
static struct { char *memory; } slot[SLOTS];
static const char *kinds[KINDS];

/* The kernel file's variables: sections that the build renames to names that the linker makes symbols for. */
extern char __start_ss_data[] __attribute__((weak)), __stop_ss_data[] __attribute__((weak));
static char *pristine;

static size_t kernel_size(void) { return (size_t)(__stop_ss_data - __start_ss_data); }

/* Output. */

static char *out;
static size_t out_used, out_room;

static void put(const char *text, size_t length)
{
	if (out_used + length > out_room) {
		out_room = (out_used + length) * 2 + 4096;
		out = realloc(out, out_room);
		if (!out)
			_exit(9);
	}
	memcpy(out + out_used, text, length);
	out_used += length;
}

static void put_text(const char *text) { put(text, strlen(text)); }

static void put_number(long number)
{
	char digits[24];
	int at = sizeof(digits);
	unsigned long value = number < 0 ? -(unsigned long)number : (unsigned long)number;
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	if (number < 0)
		digits[--at] = '-';
	put(digits + at, sizeof(digits) - at);
}

static void put_hex(unsigned long value)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%lx", value);
	put(digits, (size_t)length);
}

static void flush_out(void)
{
	size_t at = 0;
	while (at < out_used) {
		ssize_t n = write(1, out + at, out_used - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(8);
		at += (size_t)n;
	}
	out_used = 0;
}

void ss_text(const char *text) { put_text(text); }
void ss_number(long number) { put_number(number); }
void ss_warned(void) { world.warnings++; }

void ss_die(const char *what, const void *from)
{
	flush_out();
	out_used = 0;
	put_text("died\t");
	put_text(what);
	put_text("\t");
	put_hex((unsigned long)from);
	put_text("\n");
	flush_out();
	_exit(7);
}

/* Memory. */

void *ss_alloc(unsigned long size)
{
	void *got = world.heap + world.used;
	size = (size + 63) & ~63UL;
	if (world.used + size > SS_HEAP)
		ss_die("the heap of the world is full", SS_FROM);
	world.used += size;
	memset(got, 0, size);
	return got;
}

/* Threads. The switch saves what a function called in C has to preserve. */

void ss_swap(void **save, void *load);
__asm__(".text\n.globl ss_swap\nss_swap:\n"
	"push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
	"mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
	"pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");

int ss_self(void) { return world.running; }

long ss_stop(const char *kind, const void *from, int (*ready)(void *), void *what)
{
	struct thread *thread;
	if (world.running < 0) /* the world is being made: nobody else runs */
		return 0;
	thread = &world.thread[world.running];
	thread->kind = kind;
	thread->from = from;
	thread->ready = ready;
	thread->what = what;
	ss_swap(&thread->sp, scheduler);
	return thread->given;
}

static void thread_main(void)
{
	struct thread *thread = &world.thread[world.running];
	for (int i = 0; i < thread->operations; i++) {
		struct operation *operation = &thread->operation[i];
		long result = ss_operate(operation->code, operation->argument);
		ss_stop("result", (void *)result, 0, 0);
		thread->result = result;
	}
	thread->ended = 1;
	thread->kind = "ended";
	thread->from = 0;
	thread->ready = 0;
	ss_swap(&thread->sp, scheduler);
	abort();
}

static void make_thread(int number)
{
	struct thread *thread = &world.thread[number];
	void **top = (void **)(world.stack[number] + STACK);
	thread->exists = 1;
	thread->number = number;
	*--top = 0;
	*--top = (void *)thread_main;
	top -= 6;
	memset(top, 0, 6 * sizeof(*top));
	thread->sp = top;
}

static void resume(struct thread *thread)
{
	world.running = thread->number;
	ss_switch(thread->number);
	ss_swap(&scheduler, thread->sp);
	world.running = -1;
}

static int can_go(struct thread *thread)
{
	return thread->exists && !thread->ended && (!thread->ready || thread->ready(thread->what));
}

/* Signals: a WARN_ON is an instruction that traps; everything else ends the process. */

static void on_signal(int number, siginfo_t *info, void *context)
{
	ucontext_t *at = context;
	unsigned long ip = (unsigned long)at->uc_mcontext.gregs[REG_RIP];
	int length = 0, kind = number == SIGILL ? ss_is_warning(ip, &length) : 0;
	(void)info;
	if (kind > 0) {
		world.warnings++;
		at->uc_mcontext.gregs[REG_RIP] += length;
		return;
	}
	ss_die(kind < 0 ? "BUG_ON" : number == SIGALRM || number == SIGVTALRM ? "it does not come to a place where it can be left"
	       : strsignal(number), (void *)ip);
}

static void catch_signals(void)
{
	static char stack[32 << 10];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	int numbers[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGABRT, SIGVTALRM};
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	sigaltstack(&alternate, 0);
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		sigaction(numbers[i], &action, 0);
}

static void watch(void) /* CPU time for one batch of some hundred commands: only an endless loop takes that */
{
	struct itimerval timer = {.it_value = {.tv_sec = 2}};
	setitimer(ITIMER_VIRTUAL, &timer, 0);
}

/* Commands. */

static void answer(struct thread *thread, int which, size_t passed_from)
{
	char *passed = 0;
	size_t passed_length = out_used - passed_from;
	if (passed_length) { /* they were written while the thread ran: they come after the place */
		passed = malloc(passed_length);
		memcpy(passed, out + passed_from, passed_length);
		out_used = passed_from;
	}
	put_number(which);
	put_text("\t");
	if (thread) {
		put_text(thread->kind);
		put_text("@");
		put_hex((unsigned long)thread->from);
	}
	put_text("\t");
	if (passed) {
		put(passed, passed_length);
		free(passed);
	}
	put_text("\t");
	for (int i = 0; i < SS_THREADS && world.thread[i].exists; i++)
		put_text(world.thread[i].ended ? "-" : can_go(&world.thread[i]) ? "1" : "0");
	put_text("\t");
	put_number(world.warnings);
	put_text("\t");
	world.warnings = 0;
	for (int i = 0; i < SS_THREADS && world.thread[i].exists; i++) {
		put_number(world.thread[i].result);
		put_text(" ");
	}
	ss_look();
	put_text("\n");
}

struct wanted {
	const char *kind;
	unsigned long from, to;
};

static int at_place(struct thread *thread, struct wanted *wanted, int count)
{
	for (int i = 0; i < count; i++)
		if (wanted[i].kind && !strcmp(thread->kind, wanted[i].kind) && (!wanted[i].to || ((unsigned long)thread->from >= wanted[i].from &&
									 (unsigned long)thread->from < wanted[i].to)))
			return i;
	return -1;
}

static void go(char *rest)
{
	struct wanted wanted[16];
	int count = 0, which = -1, steps = 0;
	size_t passed = out_used;
	struct thread *thread = &world.thread[strtol(rest, &rest, 10)];
	thread->given = strtol(rest, &rest, 10);
	while (*rest == ' ' && count < 16) {
		wanted[count].kind = kinds[strtol(rest, &rest, 10)];
		wanted[count].from = strtoul(rest, &rest, 16);
		wanted[count].to = strtoul(rest, &rest, 16);
		count++;
	}
	/* Where the model's last boundary stood for nothing of the C's, the thread may be there already. */
	which = thread->ahead ? at_place(thread, wanted, count) : -1;
	while (which < 0 && can_go(thread) && !world.warnings && steps++ < 10000) {
		resume(thread);
		which = at_place(thread, wanted, count);
		if (which >= 0 || thread->ended || !can_go(thread))
			break;
		put_text(thread->kind);
		put_text("@");
		put_hex((unsigned long)thread->from);
		put_text(" ");
	}
	thread->ahead = which > 0;
	answer(thread, which, passed);
}

static void save(int number)
{
	size_t size = sizeof(world) - SS_HEAP + world.used;
	if (number < 0 || number >= SLOTS)
		ss_die("no room to keep that many states", 0);
	if (!slot[number].memory)
		slot[number].memory = malloc(sizeof(world) + kernel_size());
	memcpy(slot[number].memory, &world, size);
	memcpy(slot[number].memory + sizeof(world), __start_ss_data, kernel_size());
}

static void load(int number)
{
	struct world *from = (struct world *)slot[number].memory;
	memcpy(&world, from, sizeof(world) - SS_HEAP + from->used);
	memcpy(__start_ss_data, slot[number].memory + sizeof(world), kernel_size());
}

static int numbers(char *rest, long *into, int most)
{
	int count = 0;
	while (*rest == ' ' && count < most)
		into[count++] = strtol(rest, &rest, 10);
	return count;
}

static void command(char *line)
{
	long given[32] = {0};
	char *rest = strchr(line, ' ');
	if (!rest)
		rest = line + strlen(line);
	if (!strncmp(line, "go", 2)) {
		go(rest);
	} else if (!strncmp(line, "stay", 4)) {
		numbers(rest, given, 1);
		answer(&world.thread[given[0]], 0, out_used);
	} else if (!strncmp(line, "save", 4)) {
		numbers(rest, given, 1);
		save((int)given[0]);
	} else if (!strncmp(line, "load", 4)) {
		numbers(rest, given, 1);
		load((int)given[0]);
	} else if (!strncmp(line, "poke", 4)) {
		numbers(rest, given, 32);
		ss_poke((int)given[0], given + 1);
	} else if (!strncmp(line, "thread", 6)) {
		int count = numbers(rest, given, 32);
		struct thread *thread = &world.thread[given[0]];
		if (!thread->exists)
			make_thread((int)given[0]);
		if (count > 1) {
			if (thread->operations == OPERATIONS)
				ss_die("too many operations for one thread", 0);
			struct operation *operation = &thread->operation[thread->operations++];
			operation->code = (int)given[1];
			for (int i = 0; i < ARGUMENTS; i++)
				operation->argument[i] = given[2 + i];
		}
	} else if (!strncmp(line, "begin", 5)) {
		for (int i = 0; i < SS_THREADS; i++)
			if (world.thread[i].exists)
				resume(&world.thread[i]);
		answer(0, 0, out_used);
	} else if (!strncmp(line, "reset", 5)) {
		numbers(rest, given, 32);
		memset(&world, 0, sizeof(world) - SS_HEAP);
		memcpy(__start_ss_data, pristine, kernel_size());
		world.running = -1;
		ss_stubs_reset();
		ss_setup(given);
	} else if (!strncmp(line, "kind", 4)) {
		long number = strtol(rest, &rest, 10);
		kinds[number] = rest[0] && rest[1] ? strdup(rest + 1) : 0; /* number 0: no place */
	} else {
		ss_die("a command that is not known", 0);
	}
}

int main(void)
{
	size_t room = 1 << 16, used = 0;
	char *batch = malloc(room);
	catch_signals();
	pristine = malloc(kernel_size() + 1);
	memcpy(pristine, __start_ss_data, kernel_size());
	world.running = -1;
	for (;;) {
		ssize_t n;
		char *line, *end;
		if (used + 1 >= room)
			batch = realloc(batch, room *= 2);
		n = read(0, batch + used, room - used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		used += (size_t)n;
		if (used < 2 || batch[used - 1] != '\n' || batch[used - 2] != '.')
			continue;
		batch[used] = 0;
		watch();
		for (line = batch; (end = strchr(line, '\n')) != 0; line = end + 1) {
			*end = 0;
			if (!strcmp(line, "."))
				break;
			command(line);
		}
		flush_out();
		used = 0;
	}
}
