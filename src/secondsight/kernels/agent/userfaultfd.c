/*
 * The operations on a userfaultfd, and the thread that answers its messages.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int outcome(int failed) { return failed ? ERRNO | errno : DONE; }

static unsigned long at(const long *arg) { return (unsigned long)address(arg); }

int has_userfaultfd(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	int good = fd >= 0 && !ioctl(fd, UFFDIO_API, &api);

	if (fd >= 0)
		close(fd);
	return good;
}

/* Of linux/userfaultfd.h of Linux 6.4, which the C library's headers may not have yet. */
enum { WP_UNPOPULATED = 1 << 13, CONTINUE_WP = 1 << 1 };

static int new_userfaultfd(const long *arg, int makes, int features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (arg[0])
		api.features |= UFFD_FEATURE_SIGBUS;
	if (arg[1])
		api.features |= UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP;
	if (arg[2])
		api.features |= UFFD_FEATURE_EVENT_FORK;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return ERRNO | errno;
	return keep_file(fd, makes);
}

int do_userfaultfd(const long *arg, int makes) { return new_userfaultfd(arg, makes, 0); }

int do_userfaultfd_wp_unpopulated(const long *arg, int makes) { return new_userfaultfd(arg, makes, WP_UNPOPULATED); }

int do_uffd_register(const long *arg, int makes)
{
	struct uffdio_register range = {
		.range = {.start = at(arg + 1), .len = arg[3] * PAGE},
		.mode = (arg[4] ? UFFDIO_REGISTER_MODE_MISSING : 0) | (arg[5] ? UFFDIO_REGISTER_MODE_WP : 0),
	};

	(void)makes;
	return outcome(ioctl(descriptor(arg[0]), UFFDIO_REGISTER, &range));
}

int do_uffd_register_minor(const long *arg, int makes)
{
	struct uffdio_register range = {
		.range = {.start = at(arg + 1), .len = arg[3] * PAGE},
		.mode = UFFDIO_REGISTER_MODE_MINOR | (arg[4] ? UFFDIO_REGISTER_MODE_MISSING : 0),
	};

	(void)makes;
	return outcome(ioctl(descriptor(arg[0]), UFFDIO_REGISTER, &range));
}

int do_uffd_register_ioctls(const long *arg, int makes)
{
	static const char letters[] = "-wca";
	const __u64 others = 1 << _UFFDIO_WAKE | 1 << _UFFDIO_COPY | 1 << _UFFDIO_ZEROPAGE;
	struct uffdio_register range = {
		.range = {.start = at(arg + 1), .len = PAGE},
		.mode = (arg[3] ? UFFDIO_REGISTER_MODE_MISSING : 0) | (arg[4] ? UFFDIO_REGISTER_MODE_WP : 0) |
			(arg[5] ? UFFDIO_REGISTER_MODE_MINOR : 0),
	};

	(void)makes;
	if (ioctl(descriptor(arg[0]), UFFDIO_REGISTER, &range))
		return ERRNO | errno;
	if ((range.ioctls & others) != others)
		return PAGE_VALUE | '?';
	return PAGE_VALUE | letters[(range.ioctls >> _UFFDIO_WRITEPROTECT & 1) | (range.ioctls >> _UFFDIO_CONTINUE & 1) << 1];
}

int do_uffd_unregister(const long *arg, int makes)
{
	struct uffdio_range range = {.start = at(arg + 1), .len = arg[3] * PAGE};

	(void)makes;
	return outcome(ioctl(descriptor(arg[0]), UFFDIO_UNREGISTER, &range));
}

int do_uffd_wake(const long *arg, int makes)
{
	struct uffdio_range range = {.start = at(arg + 1), .len = arg[3] * PAGE};

	(void)makes;
	return outcome(ioctl(descriptor(arg[0]), UFFDIO_WAKE, &range));
}

static int fill(int fd, unsigned long to, char value, int wp)
{
	char page[PAGE] __attribute__((aligned(PAGE))) = {value};
	struct uffdio_copy copy = {
		.dst = to,
		.src = (unsigned long)page,
		.len = PAGE,
		.mode = wp ? UFFDIO_COPY_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_COPY, &copy);
}

static int go_on(int fd, unsigned long start, int wp)
{
	struct uffdio_continue page = {.range = {.start = start, .len = PAGE}, .mode = wp ? CONTINUE_WP : 0};

	return ioctl(fd, UFFDIO_CONTINUE, &page);
}

static int protect(int fd, unsigned long start, long pages, int wp)
{
	struct uffdio_writeprotect range = {
		.range = {.start = start, .len = pages * PAGE},
		.mode = wp ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &range);
}

int do_uffd_copy(const long *arg, int makes)
{
	(void)makes;
	return outcome(fill(descriptor(arg[0]), at(arg + 1), arg[3], 0));
}

int do_uffd_copy_wp(const long *arg, int makes)
{
	(void)makes;
	return outcome(fill(descriptor(arg[0]), at(arg + 1), arg[3], 1));
}

int do_uffd_continue(const long *arg, int makes)
{
	(void)makes;
	return outcome(go_on(descriptor(arg[0]), at(arg + 1), 0));
}

int do_uffd_continue_wp(const long *arg, int makes)
{
	(void)makes;
	return outcome(go_on(descriptor(arg[0]), at(arg + 1), 1));
}

/* Of linux/userfaultfd.h of Linux 6.6. */
struct poison {
	__u64 start, len, mode;
	__s64 updated;
};

int do_uffd_poison(const long *arg, int makes)
{
	struct poison page = {.start = at(arg + 1), .len = PAGE};

	(void)makes;
	return outcome(ioctl(descriptor(arg[0]), _IOWR(UFFDIO, 0x08, struct poison), &page));
}

int do_pagemap_wp(const long *arg, int makes)
{
	__u64 entry = 0;
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int got = pread(file, &entry, sizeof entry, at(arg) / sysconf(_SC_PAGESIZE) * sizeof entry), problem = errno;

	(void)makes;
	close(file);
	if (got != sizeof entry)
		return ERRNO | problem;
	return PAGE_VALUE | (entry >> 57 & 1 ? 'w' : '-');
}

/* Of linux/userfaultfd.h of Linux 6.8, which the C library's headers may not have yet. */
struct move {
	__u64 dst, src, len, mode;
	__s64 move;
};

int do_uffd_move(const long *arg, int makes)
{
	struct move page = {.dst = at(arg + 1), .src = at(arg + 3), .len = PAGE};

	(void)makes;
	return outcome(ioctl(descriptor(arg[0]), _IOWR(UFFDIO, 0x05, struct move), &page));
}

int do_uffd_zeropage(const long *arg, int makes)
{
	struct uffdio_zeropage zero = {.range = {.start = at(arg + 1), .len = PAGE}};

	(void)makes;
	return outcome(ioctl(descriptor(arg[0]), UFFDIO_ZEROPAGE, &zero));
}

int do_uffd_writeprotect(const long *arg, int makes)
{
	(void)makes;
	return outcome(protect(descriptor(arg[0]), at(arg + 1), arg[3], arg[4]));
}

static int letter(const struct uffd_msg *message)
{
	switch (message->event) {
	case UFFD_EVENT_PAGEFAULT:
		return PAGE_VALUE | (message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP ? 'w' :
				     message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR ? 'n' : 'f');
	case UFFD_EVENT_REMOVE:
		return PAGE_VALUE | 'r';
	case UFFD_EVENT_UNMAP:
		return PAGE_VALUE | 'u';
	case UFFD_EVENT_REMAP:
		return PAGE_VALUE | 'm';
	case UFFD_EVENT_FORK: /* the child's file descriptor stays open, and nobody reads it */
		return PAGE_VALUE | 'k';
	}
	return PAGE_VALUE | '?';
}

int do_uffd_read_now(const long *arg, int makes)
{
	struct uffd_msg message;

	(void)makes;
	return read(descriptor(arg[0]), &message, sizeof message) < 0 ? ERRNO | errno : letter(&message);
}

int do_uffd_read(const long *arg, int makes)
{
	struct pollfd wait = {.fd = descriptor(arg[0]), .events = POLLIN};
	int result;

	do {
		if (poll(&wait, 1, -1) < 0)
			return ERRNO | errno;
		result = do_uffd_read_now(arg, makes);
	} while (result == (ERRNO | EAGAIN));
	return result;
}

int do_uffd_close(const long *arg, int makes)
{
	(void)makes;
	return outcome(close(descriptor(arg[0])));
}

/* The handler */

enum { MAX_LATER = 32 };

struct handler {
	int fd;
	char value;
	int monitors, wp; /* as the kernel's own tests do it; what is filled is write-protected */
};

static int begin(struct handler how);

/* Answer a fault. Returns whether it is to be tried again. */
static int answer(const struct handler *handler, unsigned long page, unsigned long why)
{
	struct uffdio_range range = {.start = page, .len = PAGE};
	int failed = why & UFFD_PAGEFAULT_FLAG_WP    ? protect(handler->fd, page, 1, 0) :
		     why & UFFD_PAGEFAULT_FLAG_MINOR ? go_on(handler->fd, page, 0) :
						       fill(handler->fd, page, handler->value, handler->wp);

	if (failed && errno == EAGAIN)
		return !handler->monitors;
	if (failed)
		ioctl(handler->fd, UFFDIO_WAKE, &range);
	return 0;
}

static void *handle(void *argument)
{
	const struct handler *handler = argument;
	struct pollfd wait = {.fd = handler->fd, .events = POLLIN};
	unsigned long later[MAX_LATER];
	int count = 0;

	while (poll(&wait, 1, count ? 0 : -1) >= 0 && !(wait.revents & (POLLNVAL | POLLHUP))) {
		struct uffd_msg message;

		if (read(handler->fd, &message, sizeof message) == sizeof message) {
			unsigned long page = message.arg.pagefault.address & -(unsigned long)PAGE;

			if (message.event == UFFD_EVENT_FORK) {
				struct handler childs = *handler;

				childs.fd = message.arg.fork.ufd;
				begin(childs);
			}
			if (message.event == UFFD_EVENT_REMOVE && handler->monitors) {
				struct uffdio_range range = {
					.start = message.arg.remove.start,
					.len = message.arg.remove.end - message.arg.remove.start,
				};

				ioctl(handler->fd, UFFDIO_UNREGISTER, &range);
			}
			if (message.event == UFFD_EVENT_PAGEFAULT &&
			    answer(handler, page, message.arg.pagefault.flags) && count < MAX_LATER)
				later[count++] = page;
		} else if (count && !answer(handler, later[count - 1], 0)) {
			count--;
		} else if (count) {
			sched_yield();
		}
	}
	return NULL;
}

/* A thread that answers the messages of a userfaultfd. 0, or -1 with errno. */
static int begin(struct handler how)
{
	static struct handler handlers[2 * MAX_PROCESSES];
	static atomic_int used;
	struct handler *handler = &handlers[used++ % (2 * MAX_PROCESSES)];
	pthread_t thread;

	*handler = how;
	errno = pthread_create(&thread, NULL, handle, handler);
	return errno ? -1 : 0;
}

int do_uffd_serve(const long *arg, int makes)
{
	(void)makes;
	return outcome(begin((struct handler){.fd = descriptor(arg[0]), .value = arg[1]}));
}

int do_uffd_monitor(const long *arg, int makes)
{
	(void)makes;
	return outcome(begin((struct handler){.fd = descriptor(arg[0]), .value = arg[1], .monitors = 1}));
}

int do_uffd_monitor_wp(const long *arg, int makes)
{
	(void)makes;
	return outcome(begin((struct handler){.fd = descriptor(arg[0]), .value = arg[1], .monitors = 1, .wp = 1}));
}
