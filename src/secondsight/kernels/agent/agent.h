/*
 * What the agent's two halves share: the scenario that is loaded, and performing one of its operations.
 */
#include <stdatomic.h>

enum { MAX_OPS = 64, MAX_THREADS = 8, MAX_HANDLES = 32, MAX_ARGS = 26 };
enum { SETUP = -1, FINAL = -2 };

/* A result: what happened in the upper half, the value in the lower. NONE: the operation never ran. */
enum {
	NONE = 0,
	DONE = 1 << 16,
	SKIPPED = 2 << 16,
	PAGE_VALUE = 3 << 16,
	ERRNO = 4 << 16,
	SIGNAL = 5 << 16,
	TORN = 6 << 16,
};

struct op {
	int section; /* SETUP, FINAL or a thread's number */
	int kind;    /* a row of ops.c's table */
	int makes;   /* a handle, or -1 */
	int count;
	long arg[MAX_ARGS];
};

struct scenario {
	char name[64];
	int handles, threads, ops, expected;
	struct op op[MAX_OPS];
};

extern struct scenario scenario;

/* The machine that the agent runs on: guest.c, or host.c. Of the two, one is compiled in. */

/* Make the machine ready, and return the port to the other side. */
int begin_machine(int count, char **words);

/* Give up what only opening the devices took. */
void drop_rights(void);

/* Leave a note of what comes now, for whoever looks for the cause of a crash. */
void note_scenario(const char *name);

/* The other side is gone: leave nothing behind. */
void end_machine(void) __attribute__((noreturn));

/* A command to the machine: whether it is one. */
int machine_command(const char *line);

/* Run a program that lies in /programs, and answer with its output and how it ended. */
void run_program(const char *name);

/* agent.c: a line to the other side */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Load the modules that lie in /modules, in the order of their names, and say on the console which cannot be. */
void load_modules(void);

/* Open the devices that operations need. Returns whether there is a udmabuf device. */
int open_devices(void);

/* Make faults on scenario memory results; for the process that runs operations. */
void catch_faults(void);

/* The table's row of a name, or -1. */
int find_kind(const char *name);

/* Whether an operation's arguments are as many as its kind takes, and its handles the scenario's. */
int is_well_formed(const struct op *op);

/* Do an operation, if the handles that it needs exist, and return its result. */
int perform(const struct op *op);
