/*
 * The operations of a scenario: what each does to the process it runs in. The table of them is operations.h.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "secondsight.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/dma-buf.h>
#include <linux/mempolicy.h>
#include <linux/udmabuf.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Handle h, when it is a file, is this descriptor: a closed number is never used again. */
#define DESCRIPTOR(h) (100 + (h))

#ifndef MADV_POPULATE_READ /* since Linux 5.14 */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static int udmabuf = -1;

#define UDMABUF_PARAMETERS "/sys/module/udmabuf/parameters/"

void reserve_descriptors(int open) { dup3(open, DESCRIPTOR(MAX_HANDLES), O_CLOEXEC); }

enum { TABLE_BYTES = 1 << 21 }; /* what the entries of one page table map */

static void touch_page(char *at, int flags)
{
	char *page = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | flags, -1, 0);

	if (page != MAP_FAILED || errno == EEXIST) /* a fork's child has the mapping */
		*(volatile char *)at = 1;
}

/* A page behind the windows: page tables that reach over them are there whatever a scenario has mapped, as in the model. */
void keep_page_tables(void)
{
	touch_page(WINDOW(MAX_HANDLES), MAP_PRIVATE);
}

/*
 * The last page of each window's first table: before 6.2 change_protection() calls subscribers where that table is, later ones where
 * one over it is. Where pages may be huge no table may be in their way. No private page: fork would tell subscribers of its copy.
 */
void keep_window_tables(void)
{
	for (int h = 0; scenario.page_bits == PAGE_BITS && h < scenario.handles; h++)
		touch_page(WINDOW(h) + TABLE_BYTES - PAGE, MAP_SHARED);
}

__thread int current_op;

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

void catch_faults(void)
{
	struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

/* The operations: each gets its arguments and returns a result */

int failed(void) { return ERRNO | errno; }

char *address(const long *arg) { return left->handles[arg[0]].addr + arg[1] * UNIT; }

int descriptor(long handle) { return DESCRIPTOR(handle); }

/* Give a new file its descriptor. */
int keep_file(int fd, int makes)
{
	if (fd < 0)
		return failed();
	dup2(fd, DESCRIPTOR(makes));
	close(fd);
	return DONE;
}

int do_memfd_create(const long *arg, int makes)
{
	int fd = memfd_create("secondsight", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, arg[0] * UNIT) || (arg[1] && fcntl(fd, F_ADD_SEALS, arg[1])))
		return failed();
	return keep_file(fd, makes);
}

static int map(const long *arg, int makes, int protection, int of_file)
{
	int fd = arg[0] < 0 ? -1 : DESCRIPTOR(arg[0]);
	long file_page = arg[1], pages = arg[2];
	char *at = arg[3] < 0 ? WINDOW(makes) : address(arg + 3);
	int flags = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : of_file) | (arg[3] < 0 ? MAP_FIXED_NOREPLACE : MAP_FIXED);
	void *got = mmap(at, pages * UNIT, protection, flags, fd, file_page * UNIT);
	if (got == MAP_FAILED)
		return failed();
	left->handles[makes].addr = got;
	return DONE;
}

int do_mmap(const long *arg, int makes) { return map(arg, makes, PROT_READ | PROT_WRITE, MAP_SHARED); }

int do_mmap_read_only(const long *arg, int makes) { return map(arg, makes, PROT_READ, MAP_SHARED); }

int do_mmap_private(const long *arg, int makes) { return map(arg, makes, PROT_READ | PROT_WRITE, MAP_PRIVATE); }

int do_mmap_noreserve(const long *arg, int makes) { return map(arg, makes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE); }

static int move(const long *arg, long new_pages, const long *at, int makes, int more)
{
	char *to = at[0] < 0 ? WINDOW(makes) : address(at);
	void *got = mremap(address(arg), arg[2] * UNIT, new_pages * UNIT, MREMAP_MAYMOVE | MREMAP_FIXED | more, to);

	if (got == MAP_FAILED)
		return failed();
	left->handles[makes].addr = got;
	return DONE;
}

int do_mremap(const long *arg, int makes) { return move(arg, arg[2], arg + 3, makes, 0); }

int do_mremap_dontunmap(const long *arg, int makes) { return move(arg, arg[2], arg + 3, makes, MREMAP_DONTUNMAP); }

int do_mremap_resized(const long *arg, int makes) { return move(arg, arg[3], arg + 4, makes, 0); }

int do_mremap_in_place(const long *arg, int makes)
{
	(void)makes;
	return mremap(address(arg), arg[2] * UNIT, arg[3] * UNIT, 0) == MAP_FAILED ? failed() : DONE;
}

/* What has not moved is what it was: no new mapping. */
int do_mremap_maymove(const long *arg, int makes)
{
	void *got = mremap(address(arg), arg[2] * UNIT, arg[3] * UNIT, MREMAP_MAYMOVE);

	if (got == MAP_FAILED)
		return failed();
	if (got != address(arg))
		left->handles[makes].addr = got;
	return DONE;
}

int do_mlock(const long *arg, int makes)
{
	(void)makes;
	return mlock(address(arg), arg[2] * UNIT) ? failed() : DONE;
}

int do_munlock(const long *arg, int makes)
{
	(void)makes;
	return munlock(address(arg), arg[2] * UNIT) ? failed() : DONE;
}

/* Only those without CAP_IPC_LOCK have a limit. */
int do_limit_memlock(const long *arg, int makes)
{
	struct rlimit limit = {.rlim_cur = arg[0] * UNIT, .rlim_max = arg[0] * UNIT};
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	(void)makes;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || syscall(SYS_capget, &header, data))
		return failed();
	data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	return syscall(SYS_capset, &header, data) ? failed() : DONE;
}

int do_mprotect(const long *arg, int makes)
{
	(void)makes;
	return mprotect(address(arg), arg[2] * UNIT, PROT_READ | (arg[3] ? PROT_WRITE : 0)) ? failed() : DONE;
}

int do_mprotect_none(const long *arg, int makes)
{
	(void)makes;
	return mprotect(address(arg), arg[2] * UNIT, PROT_NONE) ? failed() : DONE;
}

int do_clear_refs(const long *arg, int makes)
{
	int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	long result;

	(void)arg, (void)makes;
	if (file < 0)
		return failed();
	result = write(file, "4", 1) == 1 ? DONE : failed();
	close(file);
	return result;
}

int do_munmap(const long *arg, int makes)
{
	(void)makes;
	return munmap(address(arg), arg[2] * UNIT) ? failed() : DONE;
}

int do_write(const long *arg, int makes)
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
		*(volatile char *)(addr + i * UNIT) = arg[2];
	fault_expected = 0;
	return DONE;
}

int do_read(const long *arg, int makes)
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
		if (i != PAGE / 2) /* the value of the second half */
			rest |= *(volatile uint64_t *)(addr + i);
	if (rest)
		result = TORN;
	fault_expected = 0;
	return result;
}

/* The second half of a page: its value is its first byte. */
int do_write_half(const long *arg, int makes)
{
	(void)makes;
	char *addr = address(arg) + PAGE / 2;
	int fault = sigsetjmp(fault_exit, 0);
	if (fault) {
		fault_expected = 0;
		return SIGNAL | fault;
	}
	fault_expected = 1;
	*(volatile char *)addr = arg[2];
	fault_expected = 0;
	return DONE;
}

int do_read_half(const long *arg, int makes)
{
	(void)makes;
	char *addr = address(arg) + PAGE / 2;
	volatile int result = NONE;
	int fault = sigsetjmp(fault_exit, 0);
	if (fault) {
		fault_expected = 0;
		return SIGNAL | fault;
	}
	fault_expected = 1;
	result = PAGE_VALUE | *(volatile unsigned char *)addr;
	fault_expected = 0;
	return result;
}

/* The module's disk, behind what is swapped to: sector v begins with the character v. */
static int disk = -1;

int do_direct_read(const long *arg, int makes)
{
	off_t at = (off_t)SS_SWAP_PAGES * PAGE + arg[2] * SS_SECTOR;

	(void)makes;
	return pread(disk, address(arg) + PAGE / 2, SS_SECTOR, at) == SS_SECTOR ? DONE : failed();
}

int do_fallocate_punch_hole(const long *arg, int makes)
{
	(void)makes;
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	return fallocate(DESCRIPTOR(arg[0]), mode, arg[1] * UNIT, arg[2] * UNIT) ? failed() : DONE;
}

int do_ftruncate(const long *arg, int makes)
{
	(void)makes;
	return ftruncate(DESCRIPTOR(arg[0]), arg[1] * UNIT) ? failed() : DONE;
}

int do_fallocate(const long *arg, int makes)
{
	(void)makes;
	int mode = arg[3] ? FALLOC_FL_KEEP_SIZE : 0;
	return fallocate(DESCRIPTOR(arg[0]), mode, arg[1] * UNIT, arg[2] * UNIT) ? failed() : DONE;
}

int do_madvise_dontneed(const long *arg, int makes)
{
	(void)makes;
	return madvise(address(arg), arg[2] * UNIT, MADV_DONTNEED) ? failed() : DONE;
}

static int advise(const long *arg, int advice) { return madvise(address(arg), arg[2] * UNIT, advice) ? failed() : DONE; }

int do_madvise_dontfork(const long *arg, int makes) { return (void)makes, advise(arg, MADV_DONTFORK); }
int do_madvise_dofork(const long *arg, int makes) { return (void)makes, advise(arg, MADV_DOFORK); }
int do_madvise_wipeonfork(const long *arg, int makes) { return (void)makes, advise(arg, MADV_WIPEONFORK); }
int do_madvise_keeponfork(const long *arg, int makes) { return (void)makes, advise(arg, MADV_KEEPONFORK); }
int do_madvise_populate_read(const long *arg, int makes) { return (void)makes, advise(arg, MADV_POPULATE_READ); }
int do_madvise_populate_write(const long *arg, int makes) { return (void)makes, advise(arg, MADV_POPULATE_WRITE); }
int do_madvise_free(const long *arg, int makes) { return (void)makes, advise(arg, MADV_FREE); }
int do_madvise_remove(const long *arg, int makes) { return (void)makes, advise(arg, MADV_REMOVE); }

int do_madvise_pageout(const long *arg, int makes)
{
	(void)makes;
	return madvise(address(arg), arg[2] * UNIT, MADV_PAGEOUT) ? failed() : DONE;
}

/* The module's swap device, if it is there, gets a header (union swap_header of the kernel's) and is used. */
int start_swap(void)
{
	static char header[PAGE];
	uint32_t *info = (uint32_t *)(header + 1024);
	int file = open("/dev/" SS_SWAP_NAME, O_RDWR | O_CLOEXEC);
	int good;

	if (file < 0)
		return 0;
	info[0] = 1; /* version */
	info[1] = SS_SWAP_PAGES - 1; /* last_page */
	memcpy(header + PAGE - 10, "SWAPSPACE2", 10);
	good = pwrite(file, header, PAGE, 0) == PAGE && !fsync(file);
	close(file);
	if (!good || swapon("/dev/" SS_SWAP_NAME, 0))
		return 0;
	disk = open("/dev/" SS_SWAP_NAME, O_RDONLY | O_DIRECT | O_CLOEXEC);
	return disk >= 0;
}

/* To the other one of two nodes. The system call says how many pages it could not move, or what is wrong with the page. */
int do_move_pages(const long *arg, int makes)
{
	void *page = address(arg);
	int here = -1, there, status = -ENOENT;
	long ret;

	(void)makes;
	if (syscall(SYS_move_pages, 0, 1UL, &page, NULL, &here, 0))
		return failed();
	there = here == 1 ? 0 : 1;
	ret = syscall(SYS_move_pages, 0, 1UL, &page, &there, &status, MPOL_MF_MOVE);
	if (ret < 0)
		return failed();
	if (ret > 0)
		return ERRNO | EAGAIN;
	return status < 0 ? ERRNO | -status : DONE;
}

int has_nodes(void)
{
	unsigned long nodes = 0;

	return !syscall(SYS_get_mempolicy, NULL, &nodes, 8 * sizeof(nodes) + 1, NULL, MPOL_F_MEMS_ALLOWED) && (nodes & 3) == 3;
}

int do_udmabuf_create(const long *arg, int makes)
{
	struct udmabuf_create create = {
		.memfd = DESCRIPTOR(arg[0]),
		.flags = UDMABUF_FLAGS_CLOEXEC,
		.offset = arg[1] * UNIT,
		.size = arg[2] * UNIT,
	};
	return keep_file(ioctl(udmabuf, UDMABUF_CREATE, &create), makes);
}

int do_udmabuf_create_halves(const long *arg, int makes)
{
	struct udmabuf_create create = {
		.memfd = DESCRIPTOR(arg[0]),
		.flags = UDMABUF_FLAGS_CLOEXEC,
		.offset = arg[1] * (PAGE / 2),
		.size = arg[2] * (PAGE / 2),
	};
	return keep_file(ioctl(udmabuf, UDMABUF_CREATE, &create), makes);
}

int do_udmabuf_create_list(const long *arg, int makes)
{
	struct {
		struct udmabuf_create_list head;
		struct udmabuf_create_item item[SS_MAX_RANGES];
	} list = {.head = {.flags = UDMABUF_FLAGS_CLOEXEC, .count = arg[0]}};
	for (long i = 0; i < arg[0]; i++)
		list.item[i] = (struct udmabuf_create_item){
			.memfd = DESCRIPTOR(arg[1 + 3 * i]),
			.offset = arg[2 + 3 * i] * UNIT,
			.size = arg[3 + 3 * i] * UNIT,
		};
	return keep_file(ioctl(udmabuf, UDMABUF_CREATE_LIST, &list), makes);
}

/* What the module takes of a list and of a buffer. */
static int limit(long items, long mebibytes)
{
	const struct { const char *file; long value; } limits[] = {{UDMABUF_PARAMETERS "list_limit", items}, {UDMABUF_PARAMETERS "size_limit_mb", mebibytes}};

	for (int i = 0; i < 2; i++) {
		char text[24];
		int length = snprintf(text, sizeof text, "%ld", limits[i].value), error = 0;
		int fd = open(limits[i].file, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, text, length) != length)
			error = errno;
		if (fd >= 0)
			close(fd);
		if (error)
			return error;
	}
	return 0;
}

int has_limits(void) { return !access(UDMABUF_PARAMETERS "list_limit", W_OK); }

/* The kernel's own, again after a scenario that has written others. */
const char *place_limits(int needed)
{
	static int changed;

	if ((needed || changed) && limit(1024, 64))
		return "the limits of udmabufs cannot be written";
	changed = needed;
	return NULL;
}

int do_udmabuf_limits(const long *arg, int makes)
{
	int error = limit(arg[0], arg[1]);

	(void)makes;
	return error ? ERRNO | error : DONE;
}

/* DMA_BUF_IOCTL_SYNC: of arg[0], to write too if arg[1] says so. */
static int sync_for_cpu(const long *arg, unsigned long edge)
{
	struct dma_buf_sync sync = {.flags = edge | (arg[1] ? DMA_BUF_SYNC_RW : DMA_BUF_SYNC_READ)};
	return ioctl(DESCRIPTOR(arg[0]), DMA_BUF_IOCTL_SYNC, &sync) ? failed() : DONE;
}

int do_begin_cpu_access(const long *arg, int makes)
{
	(void)makes;
	return sync_for_cpu(arg, DMA_BUF_SYNC_START);
}

int do_end_cpu_access(const long *arg, int makes)
{
	(void)makes;
	return sync_for_cpu(arg, DMA_BUF_SYNC_END);
}

int do_buffer_begin_cpu_access(const long *arg, int makes)
{
	return do_begin_cpu_access(arg, makes);
}

int do_buffer_end_cpu_access(const long *arg, int makes)
{
	return do_end_cpu_access(arg, makes);
}

int do_add_seals(const long *arg, int makes)
{
	(void)makes;
	return fcntl(DESCRIPTOR(arg[0]), F_ADD_SEALS, arg[1]) ? failed() : DONE;
}

int do_close(const long *arg, int makes)
{
	(void)makes;
	return close(DESCRIPTOR(arg[0])) ? failed() : DONE;
}

/* The processes are made before the setup begins (processes.c). */
int do_process(const long *arg, int makes)
{
	(void)arg, (void)makes;
	return DONE;
}

int do_fork(const long *arg, int makes)
{
	(void)arg;
	return fork_process(makes) ? failed() : DONE;
}

int do_kill(const long *arg, int makes)
{
	(void)makes;
	return kill_process(arg[1]) ? failed() : DONE;
}

int do_process_mrelease(const long *arg, int makes)
{
	int pidfd = syscall(SYS_pidfd_open, left->pid[arg[1]], 0), result;

	(void)makes;
	if (pidfd < 0)
		return failed();
	result = syscall(SYS_process_mrelease, pidfd, 0) ? failed() : DONE;
	close(pidfd);
	return result;
}

int do_exit(const long *arg, int makes)
{
	(void)arg, (void)makes;
	if (session >= 0)
		ioctl(session, SS_EXITS);
	_exit(0);
}

/* Who does an operation: the process alone; secondsight.ko's devices, for a thread of the process; or they, for nobody of it; or somebody else. */
enum { PLAIN, INSIDE, OUTSIDE, ELSEWHERE };

/* `shape` is the arguments' encoding: n a number, h a handle, a an address (handle, page), r ranges. */
static const struct {
	const char *name, *shape;
	int (*run)(const long *arg, int makes);
	int who;
} kinds[] = {
#define ROW(name, shape, who) {#name, shape, do_##name, who},
	SS_OPERATIONS(ROW)
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Call `each` on every handle an operation uses, and give the number of its arguments; -1: malformed. */
static int for_handles(const struct op *op, int (*each)(long handle))
{
	int at = 0, good = 1;

	for (const char *shape = kinds[op->kind].shape; *shape; shape++) {
		if (*shape == 'r') {
			long ranges = at < op->count ? op->arg[at++] : 0;
			if (ranges < 1 || ranges > SS_MAX_RANGES || at + 3 * ranges > op->count)
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

int open_devices(void)
{
	udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	return udmabuf >= 0;
}

int needs_module(int kind) { return kinds[kind].who == INSIDE || kinds[kind].who == OUTSIDE; }
int needs_pool(int kind) { return kinds[kind].run == do_hugetlb_pool; }
int needs_movable(int kind) { return kinds[kind].run == do_offline_pages; }
int needs_dax(int kind) { return kinds[kind].run == do_dax || kinds[kind].run == do_dax_remove; }
int needs_fs_dax(int kind) { return kinds[kind].run == do_fs_dax; }
int needs_disk(int kind) { return kinds[kind].run == do_disk_file; }
int needs_limits(int kind) { return kinds[kind].run == do_udmabuf_limits; }
int needs_memcg(int kind) { return kinds[kind].run == do_memory_reclaim; }
int needs_cma(int kind) { return kinds[kind].run == do_cma_alloc; }
int is_outside(int kind) { return kinds[kind].who == OUTSIDE || kinds[kind].who == ELSEWHERE; }

int find_kind(const char *name)
{
	for (int kind = 0; kind < KINDS; kind++)
		if (!strcmp(kinds[kind].name, name))
			return kind;
	return -1;
}

static int is_handle(long handle) { return handle >= -1 && handle < scenario.handles; }
static int is_alive(long handle) { return handle < 0 || left->handles[handle].alive; }

int is_well_formed(const struct op *op) { return is_handle(op->makes) && for_handles(op, is_handle) >= 0; }

/* Of a device that is closed, the handle means something when somebody has opened it. */
static int opens(const struct op *op) { return kinds[op->kind].run == do_device_open; }

/* A mapping that grew where it is has not become another. */
static int has_made(const struct op *op)
{
	return op->makes >= 0 && kinds[op->kind].run != do_closed_device && (kinds[op->kind].run != do_mremap_maymove || left->handles[op->makes].addr);
}

int perform(const struct op *op)
{
	if (!opens(op) && for_handles(op, is_alive) < 0)
		return SKIPPED;
	current_op = op - scenario.op;
	int result = kinds[op->kind].run(op->arg, op->makes);
	if (result == DONE && has_made(op))
		left->handles[op->makes].alive = 1;
	if (result == DONE && opens(op))
		left->handles[op->arg[0]].alive = 1;
	return result;
}

