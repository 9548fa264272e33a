/*
 * What is done to all memory that is on reclaim's lists. The processes of a scenario whose memory is wanted back are in a cgroup of their own from their beginning on: what they touch first, files'
 * pages too, is counted there, and nobody else's memory is.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"
#define CGROUP CGROUPS "/secondsight"
#define COMPACT "/proc/sys/vm/compact_memory"

/* More than a scenario's processes have, most of the time: the kernel gives up (-EAGAIN) when it has looked so often without finding more. Less would leave what was used lately (6.1). */
#define MOST "256K"

/* 0, or an error number. */
static int put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC), error = fd < 0 || write(fd, text, strlen(text)) < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return error;
}

static int is_guest;

void begin_lists(void)
{
	is_guest = 1;
	/* A process that goes to a cgroup would wait for a grace period without it. */
	if (mount("cgroup2", CGROUPS, "cgroup2", 0, "favordynmods") || put(CGROUPS "/cgroup.subtree_control", "+memory"))
		return;
	mkdir(CGROUP, 0755);
}

int has_memcg(void) { return is_guest && !access(CGROUP "/memory.reclaim", W_OK); }

int has_compaction(void) { return is_guest && !access(COMPACT, W_OK); }

void join_memcg(void)
{
	if (scenario.needs_memcg && put(CGROUP "/cgroup.procs", "0"))
		_exit(1);
}

int do_memory_reclaim(const long *arg, int makes)
{
	int error = put(CGROUP "/memory.reclaim", MOST);

	(void)arg, (void)makes;
	return error && error != EAGAIN ? ERRNO | error : DONE;
}

int do_compact_memory(const long *arg, int makes)
{
	int error = put(COMPACT, "1");

	(void)arg, (void)makes;
	return error ? ERRNO | error : DONE;
}
