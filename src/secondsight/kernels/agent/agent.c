/*
 * The guest agent: /init of a kernel booted to run scenarios.
 *
 * It reads lines from the virtio-serial port and answers with JSON lines on the same port:
 *
 *   scenario NAME HANDLES THREADS OPS       begins a scenario; OPS lines follow
 *   op SECTION KIND MAKES ARG...            SECTION: s (setup), f (final) or a thread's number;
 *                                           MAKES: the handle it makes, or -1; arguments are numbers
 *                                           (an absent one is -1; see kernels/encode.py)
 *       -> {"ready":"NAME"}
 *   run SEED RUNS                           runs it; one line for each distinct outcome, then done
 *       -> {"count":N,"ended":"exit","results":["ok","page:97","errno:22","signal:11","skipped","none"]}
 *       -> {"done":N}                       fewer than RUNS after a run that hung
 *   crash, hang                             panic the kernel, or stop answering: tests of the host side
 *
 * Anything else, or a scenario that does not fit, is answered with {"error":"..."}. No scenario is
 * compiled in: an operation is a row of `kinds` below. The host closing the port powers the guest off.
 *
 * One run is one forked child, so that nothing outlives it: memory, files, a crash. The results lie
 * in memory shared with the parent and survive the child. There is one CPU; interleavings vary by
 * random pauses between operations, of a kind and length drawn from the run's seed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OPS = 64, MAX_THREADS = 8, MAX_HANDLES = 32, MAX_ARGS = 26, MAX_OUTCOMES = 256 };
enum { PAGE = 4096, RUN_SECONDS = 5 };
enum { SETUP = -1, FINAL = -2 };

/* Handle h, when it is a mapping, lies in a window of its own: no address is ever used twice. */
#define WINDOW(h) ((char *)0x200000000000 + ((long)(h) << 21))
/* Handle h, when it is a file, is this descriptor: a closed number is never used again. */
#define DESCRIPTOR(h) (100 + (h))

/* A result: what happened in the upper half, the value in the lower. NONE: the operation never ran. */
enum { NONE = 0, DONE = 1 << 16, SKIPPED = 2 << 16, PAGE_VALUE = 3 << 16, ERRNO = 4 << 16, SIGNAL = 5 << 16, TORN = 6 << 16 };

struct op {
	int section;
	int kind;
	int makes;
	int count;
	long arg[MAX_ARGS];
};

static struct {
	char name[64];
	int handles, threads, ops, expected;
	struct op op[MAX_OPS];
} scenario;

struct handle {
	atomic_int alive;
	char *addr; /* of a mapping */
};

static struct handle handles[MAX_HANDLES]; /* the child's own copy */
static atomic_int *results;                /* shared with the parent, one an operation */
static atomic_int waiting;
static uint64_t run_seed;
static int port;
static int udmabuf = -1;

/* Talking to the host */

static void say(const char *format, ...)
{
	static char line[8192];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	for (int done = 0; done < length;) {
		ssize_t n = write(port, line + done, length - done);
		if (n <= 0)
			reboot(RB_AUTOBOOT);
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
			reboot(RB_AUTOBOOT); /* the host is gone; with -no-reboot this ends the machine */
		end += n;
	}
}

/* Faults: an access that faults is a result, not the end of the thread */

static __thread sigjmp_buf fault_exit;
static __thread volatile sig_atomic_t fault_expected;

static void on_fault(int signal_number)
{
	if (fault_expected)
		siglongjmp(fault_exit, signal_number);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* The operations: each gets its arguments and returns a result */

static int failed(void) { return ERRNO | errno; }

static char *address(const long *arg) { return handles[arg[0]].addr + arg[1] * PAGE; }

/* Give a new file its descriptor. */
static int keep_file(int fd, int makes)
{
	if (fd < 0)
		return failed();
	dup2(fd, DESCRIPTOR(makes));
	close(fd);
	return DONE;
}

static int do_memfd_create(const long *arg, int makes)
{
	int fd = memfd_create("secondsight", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, arg[0] * PAGE) || (arg[1] && fcntl(fd, F_ADD_SEALS, arg[1])))
		return failed();
	return keep_file(fd, makes);
}

static int do_mmap(const long *arg, int makes)
{
	int fd = arg[0] < 0 ? -1 : DESCRIPTOR(arg[0]);
	long file_page = arg[1], pages = arg[2];
	char *at = arg[3] < 0 ? WINDOW(makes) : address(arg + 3);
	int flags = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | (arg[3] < 0 ? MAP_FIXED_NOREPLACE : MAP_FIXED);
	void *got = mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, file_page * PAGE);
	if (got == MAP_FAILED)
		return failed();
	handles[makes].addr = got;
	return DONE;
}

static int do_munmap(const long *arg, int makes)
{
	(void)makes;
	return munmap(address(arg), arg[2] * PAGE) ? failed() : DONE;
}

static int do_write(const long *arg, int makes)
{
	(void)makes;
	char *addr = address(arg);
	int fault = sigsetjmp(fault_exit, 0);
	if (fault) {
		fault_expected = 0;
		return SIGNAL | fault;
	}
	fault_expected = 1;
	for (long i = 0; i < arg[3]; i++)
		*(volatile char *)(addr + i * PAGE) = arg[2];
	fault_expected = 0;
	return DONE;
}

static int do_read(const long *arg, int makes)
{
	(void)makes;
	char *addr = address(arg);
	volatile int result = NONE;
	int fault = sigsetjmp(fault_exit, 0);
	if (fault) {
		/* A fault after the value was read is another access's, and none of the scenario's. */
		fault_expected = 0;
		return result != NONE ? result : (SIGNAL | fault);
	}
	fault_expected = 1;
	result = PAGE_VALUE | *(volatile unsigned char *)addr;
	uint64_t rest = 0;
	for (int i = 8; i < PAGE; i += 8)
		rest |= *(volatile uint64_t *)(addr + i);
	if (rest)
		result = TORN;
	fault_expected = 0;
	return result;
}

static int do_punch_hole(const long *arg, int makes)
{
	(void)makes;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	return fallocate(DESCRIPTOR(arg[0]), mode, arg[1] * PAGE, arg[2] * PAGE) ? failed() : DONE;
}

static int do_dontneed(const long *arg, int makes)
{
	(void)makes;
	return madvise(address(arg), arg[2] * PAGE, MADV_DONTNEED) ? failed() : DONE;
}

static int do_udmabuf_create(const long *arg, int makes)
{
	struct udmabuf_create create = {
		.memfd = DESCRIPTOR(arg[0]),
		.flags = UDMABUF_FLAGS_CLOEXEC,
		.offset = arg[1] * PAGE,
		.size = arg[2] * PAGE,
	};
	return keep_file(ioctl(udmabuf, UDMABUF_CREATE, &create), makes);
}

static int do_udmabuf_create_list(const long *arg, int makes)
{
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item item[8];
	} list = {.head = {.flags = UDMABUF_FLAGS_CLOEXEC, .count = arg[0]}};
	for (long i = 0; i < arg[0]; i++)
		list.item[i] = (struct udmabuf_create_item){
			.memfd = DESCRIPTOR(arg[1 + 3 * i]),
			.offset = arg[2 + 3 * i] * PAGE,
			.size = arg[3 + 3 * i] * PAGE,
		};
	return keep_file(ioctl(udmabuf, UDMABUF_CREATE_LIST, &list), makes);
}

static int do_add_seals(const long *arg, int makes)
{
	(void)makes;
	return fcntl(DESCRIPTOR(arg[0]), F_ADD_SEALS, arg[1]) ? failed() : DONE;
}

static int do_close(const long *arg, int makes)
{
	(void)makes;
	return close(DESCRIPTOR(arg[0])) ? failed() : DONE;
}

static int do_exit(const long *arg, int makes)
{
	(void)arg, (void)makes;
	_exit(0);
}

/* `shape` is the arguments' encoding: n a number, h a handle, a an address (handle, page), r ranges. */
static const struct {
	const char *name, *shape;
	int (*run)(const long *arg, int makes);
} kinds[] = {
	{"memfd_create", "nn", do_memfd_create},
	{"mmap", "hnna", do_mmap},
	{"munmap", "an", do_munmap},
	{"write", "ann", do_write},
	{"read", "a", do_read},
	{"fallocate_punch_hole", "hnn", do_punch_hole},
	{"madvise_dontneed", "an", do_dontneed},
	{"udmabuf_create", "hnn", do_udmabuf_create},
	{"udmabuf_create_list", "r", do_udmabuf_create_list},
	{"add_seals", "hn", do_add_seals},
	{"close", "h", do_close},
	{"exit", "", do_exit},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Call `each` on every handle an operation uses, and give the number of its arguments; -1: malformed. */
static int for_handles(const struct op *op, int (*each)(long handle))
{
	int at = 0, good = 1;

	for (const char *shape = kinds[op->kind].shape; *shape; shape++) {
		if (*shape == 'r') {
			long ranges = at < op->count ? op->arg[at++] : 0;
			if (ranges < 1 || ranges > 8 || at + 3 * ranges > op->count)
				return -1;
			for (; ranges--; at += 3)
				good &= each(op->arg[at]);
		} else {
			if (*shape != 'n' && at < op->count)
				good &= each(op->arg[at]);
			at += *shape == 'a' ? 2 : 1;
		}
	}
	return at == op->count && good ? at : -1;
}

static int is_handle(long handle) { return handle >= -1 && handle < scenario.handles; }
static int is_alive(long handle) { return handle < 0 || handles[handle].alive; }

static int perform(const struct op *op)
{
	if (for_handles(op, is_alive) < 0)
		return SKIPPED;
	int result = kinds[op->kind].run(op->arg, op->makes);
	if (op->makes >= 0 && result == DONE)
		handles[op->makes].alive = 1;
	return result;
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
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
	uint64_t state = seed_of(1000);
	int first = draw(&state) % MAX_THREADS;

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
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
	for (op->kind = 0; op->kind < KINDS && kind; op->kind++)
		if (!strcmp(kinds[op->kind].name, kind))
			break;
	if (!kind || op->kind == KINDS)
		return "an op this agent does not know";
	word = strtok_r(NULL, " ", &save);
	op->makes = word ? atoi(word) : -1;
	for (op->count = 0; (word = strtok_r(NULL, " ", &save)); op->count++) {
		if (op->count == MAX_ARGS)
			return "an op with too many arguments";
		op->arg[op->count] = atol(word);
	}
	if (op->section >= scenario.threads || !is_handle(op->makes) || for_handles(op, is_handle) < 0)
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
	/* In the kernel's log: when it crashes, the console shows whose it was. */
	char note[128];
	int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	int length = sprintf(note, "<1>secondsight: scenario %s\n", scenario.name);
	if (log < 0 || write(log, note, length) != length)
		puts("secondsight: no notes in the kernel's log");
	close(log);
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

static void crash(void)
{
	int trigger = open("/proc/sysrq-trigger", O_WRONLY);
	if (write(trigger, "c", 1) != 1)
		abort(); /* init's end is a panic too */
}

static void open_port(void)
{
	for (int i = 0; i < 2000; i++) {
		port = open("/dev/vport0p1", O_RDWR | O_CLOEXEC);
		if (port >= 0)
			return;
		usleep(5000);
	}
	puts("secondsight: no virtio-serial port /dev/vport0p1 in this kernel (CONFIG_VIRTIO_PCI=y and CONFIG_VIRTIO_CONSOLE=y are needed)");
	reboot(RB_AUTOBOOT);
}

int main(void)
{
	struct utsname kernel;

	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	open_port();
	udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	results = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uname(&kernel);
	say("{\"agent\":1,\"release\":\"%s\",\"udmabuf\":%s}\n", kernel.release, udmabuf < 0 ? "false" : "true");
	for (;;) {
		char *line = next_line();
		unsigned long long seed;
		int runs;
		if (!strncmp(line, "scenario ", 9))
			read_scenario(line);
		else if (sscanf(line, "run %llu %d", &seed, &runs) == 2 && scenario.ops && runs > 0 && runs <= MAX_OUTCOMES)
			run(seed, runs);
		else if (!strcmp(line, "crash"))
			crash();
		else if (!strcmp(line, "hang"))
			for (;;)
				pause();
		else
			say("{\"error\":\"a command this agent does not know\"}\n");
	}
}
