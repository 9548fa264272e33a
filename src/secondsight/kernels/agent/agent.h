/*
 * What the agent's two halves share: the scenario that is loaded, and performing one of its operations.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "limits.h"
#include "operations.h"

enum { MAX_PROCESSES = SS_MAX_PROCESSES, MAX_OPS = SS_MAX_OPS, MAX_THREADS = SS_MAX_THREADS, MAX_HANDLES = SS_MAX_HANDLES };
enum { MAX_ARGS = 2 + 3 * SS_MAX_RANGES, MAX_PROBES = 64 };
enum { SETUP = -1, FINAL = -2 };
enum { PAGE = 4096 };

/* Of a page of the scenario the first PAGE bytes are used. Where two are a huge page it is as large as half of one. */
enum { PAGE_BITS = 12, HUGE_BITS = 20 };
#define UNIT (1L << scenario.page_bits)

/* Handle h, when it is a mapping, lies in a window of its own: no address is ever used twice. */
#define WINDOW(h) ((char *)0x200000000000 + ((long)(h) << 24))

/* A result: what happened in the upper half, the value in the lower. NONE: the operation never ran. */
enum {
	NONE = 0,
	DONE = 1 << 16,
	SKIPPED = 2 << 16,
	PAGE_VALUE = 3 << 16,
	ERRNO = 4 << 16,
	SIGNAL = 5 << 16,
	TORN = 6 << 16,
	DIFFERS = 7 << 16, /* the device's access did not end as the CPU's */
};

struct op {
	int section; /* SETUP, FINAL or a thread's number */
	int process;
	int kind;    /* a row of operations.h */
	int makes;   /* a handle, or -1 */
	int count;
	long arg[MAX_ARGS];
};

struct probe {
	int device, handle, page;
};

struct scenario {
	char name[64];
	char driver[24]; /* the form of secondsight.ko's mirror that its device is */
	int loaded, handles, threads, processes, ops, expected;
	int needs_module, needs_movable, needs_pool, needs_dax, needs_fs_dax, needs_disk, needs_cma, needs_limits, needs_memcg;
	int page_bits; /* PAGE_BITS or HUGE_BITS */
	int forked[MAX_PROCESSES]; /* of a process that comes by fork: its handle, and 1; 0 of others */
	int probes; /* pages of which a device's table is looked at in the end */
	struct probe probe[MAX_PROBES];
	struct op op[MAX_OPS];
};

extern struct scenario scenario;

struct handle {
	atomic_int alive;
	char *addr; /* of a mapping */
};

/* What a run leaves behind, in memory that its processes share. */
struct left_behind {
	struct handle handles[MAX_HANDLES];
	atomic_int result[MAX_OPS];
	atomic_int begun[MAX_OPS]; /* how often a device's fault handler began */
	atomic_int late[MAX_OPS];  /* what a late dereference touched, an ss_probe value */
	atomic_int probe[MAX_PROBES];
	atomic_int probed;
	atomic_int status[MAX_PROCESSES]; /* how each process ended, as waitpid() says it */
	atomic_int stage[MAX_PROCESSES];
	pid_t forked[MAX_PROCESSES]; /* of a process that has come by fork */
	pid_t pid[MAX_PROCESSES];
	atomic_int killed[MAX_PROCESSES]; /* by another one */
	atomic_int turn; /* the number, from 1, of the operation that is to be done, 0 for none */
	atomic_int is_set_up, is_over;
	atomic_int waiting; /* threads that are not at their start yet */
};

extern struct left_behind *left;

/* The run's session with secondsight.ko, or -1. */
extern int session;

/* agent.c: a line to the host; the next line from it */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *next_line(void);

/* agent.c: what a run left behind, as the JSON members `ended` and `results` */
void say_results(const struct left_behind *run);

/* processes.c: the setup, the threads and what comes after them, in the child. `forced`: held by secondsight.ko before each
 * operation, and with nothing left to be faulted in but the scenario's own memory. */
void child(int forced) __attribute__((noreturn));

/* processes.c: fork the process that a handle stands for. Its parent is whoever is the caller's. 0, or -1 with errno. */
int fork_process(int handle);

/* processes.c: kill a process. 0, or -1 with errno. */
int kill_process(int process);

/* processes.c: what pauses are drawn from in the run that comes */
void seed_run(uint64_t seed);

/* agent.c: until the run's child has ended, and all that it made */
void wait_for(pid_t child);

/* forced.c: run the scenario once, by the schedule that follows in STEPS lines */
void run_forced(int steps, unsigned long long points);

/* forced.c: note what memory this process has, for its children to populate */
void note_memory(void);

/* forced.c, in a child: populate all memory that is not the scenario's; a thread's own stack */
void populate_memory(void);
void populate_stack(void);

/* ops.c, devices.c: one function for each operation, that gets its arguments and returns a result */
#define PROTOTYPE(name, shape, who) int do_##name(const long *arg, int makes);
SS_OPERATIONS(PROTOTYPE)

/* devices.c: look at the devices' tables, for each of the scenario's probes */
void probe_devices(void);

/* ops.c, for devices.c and huge.c: the address of handle and page; the number of the operation that the caller performs */
char *address(const long *arg);
int failed(void); /* the result that errno is */
extern __thread int current_op;
int descriptor(long handle);
int keep_file(int fd, int makes); /* give a new file its descriptor */

/* Whether a kind of operation needs secondsight.ko; whether it needs the block that can be taken offline; whether it is the device's alone, and needs no thread of the process. */
int needs_module(int kind);
int needs_movable(int kind);
int needs_pool(int kind);
int needs_dax(int kind);
int needs_fs_dax(int kind);
int needs_disk(int kind);
int needs_cma(int kind);
int needs_limits(int kind);
int needs_memcg(int kind);
int is_outside(int kind);

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

/* Begin to use the module's swap device. Returns whether pages can be swapped out. */
int start_swap(void);

/* Whether huge pages are made where they are asked for, and only there. */
int has_huge(void);

/* Whether there is a pool of huge pages for files of them. */
int has_hugetlb(void);

/* Whether there is a userfaultfd with all that scenarios may ask of it. */
int has_userfaultfd(void);

/* Whether there are two NUMA nodes. */
int has_nodes(void);

/* Of a guest: find its block of memory that can be taken offline, which is offline until a scenario needs it; whether there is one. */
void begin_movable(void);
int has_movable(void);

/* Before a run: bring the block online or take it offline, as the scenario needs it. NULL, or why that cannot be. */
const char *place_movable(int needed);

/* Of a guest: make a memory cgroup for the processes of scenarios; whether there is one of which memory can be wanted back. In a run's child: go there, if the scenario asks for that. */
void begin_lists(void);
int has_memcg(void);
void join_memcg(void);

/* Of a guest: whether memory is compacted when that is asked for. */
int has_compaction(void);

/* The same of a pool of huge pages that a scenario limits: the next one has a large one again. */
enum { POOL = 16 };
const char *place_pool(int needed);

/* The same of device memory that has a file: there, bound to its driver, and zero. Of a guest: have its pages mapped one by one. */
void begin_dax(void);
int has_dax(void);
const char *place_dax(int needed);

/* The same of a file system in a device's memory: the files of the last run are gone. */
void begin_fs_dax(void);
int has_fs_dax(void);
const char *place_fs_dax(int needed);
int is_dax(int fd); /* whether a file's pages are the device's memory themselves */
const char *make_empty(const char *path);

#define FILE_SYSTEM "/pmem" /* where it is mounted */

/* The same of files of it that have a page cache. */
void begin_disk_files(const char *disk);
int has_disk_files(void);
const char *place_disk_files(int needed);
int want_dax(const char *folder); /* the files of a folder will be the device's memory */

/* The same of the area of contiguous memory, which is secondsight.ko's where no scenario asks for it. */
void begin_cma(void);
int has_limits(void);
const char *place_limits(int needed);
int has_cma(void);
const char *place_cma(int needed);

/* agent.c: all of these. */
const char *place_what_is_needed(void);

/* Whether secondsight.ko is there. */
int has_module(void);

/* Have room for all descriptors of scenarios, with a copy of an open one above them: a table that processes or threads share
 * would have to wait for a grace period each time it grows. */
void reserve_descriptors(int open);

/* Have page tables over the windows. */
void keep_page_tables(void);
void keep_window_tables(void);

/* Make faults on scenario memory results; for the process that runs operations. */
void catch_faults(void);

/* The table's row of a name, or -1. */
int find_kind(const char *name);

/* Whether an operation's arguments are as many as its kind takes, and its handles the scenario's. */
int is_well_formed(const struct op *op);

/* Do an operation, if the handles that it needs exist, and return its result. */
int perform(const struct op *op);
