/*
 * A block of memory that must stay movable (ZONE_MOVABLE), which a guest has if it was given one (kernels/qemu.py): taken offline by an
 * operation. It is online for the scenarios alone that have the operation. What pins pages for long moves them out of such a block
 * (check_and_migrate_movable_pages(), mm/gup.c): who looks meanwhile sees it, and the model has no block where no scenario asks for it.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS "/sys/devices/system/memory"
/*
 * The kernel tries for ever to empty the block. It is stopped when some pages would not move so often in each of so many looks, the first of
 * so many microseconds, each twice as long as the one before, or after so many looks in which pages moved: a clock alone would end it where the
 * machine was busy elsewhere, and so would one short look, in which a processor of the guest that has a page for a moment did not run. Between
 * runs it is begun anew so often.
 */
enum { FAILURES = 10, LOOK = 200000, HELD = 4, LOOKS = 50, TRIES = 10 };

static int state = -1; /* the block's file */

static int is(const char *word)
{
	char text[16] = "";

	return state >= 0 && pread(state, text, sizeof text - 1, 0) > 0 && !strncmp(text, word, strlen(word));
}

/* The block is the one that is offline when the machine begins: what was plugged in is. A guest's machine alone asks for it. */
void begin_movable(void)
{
	DIR *blocks = opendir(BLOCKS);
	struct dirent *entry;

	while (blocks && (entry = readdir(blocks))) {
		char name[128];

		if (strncmp(entry->d_name, "memory", 6))
			continue;
		snprintf(name, sizeof name, BLOCKS "/%.32s/state", entry->d_name);
		state = open(name, O_RDWR | O_CLOEXEC);
		if (is("offline"))
			break;
		close(state);
		state = -1;
	}
	if (blocks)
		closedir(blocks);
}

int has_movable(void)
{
	return state >= 0;
}

static void give_up(int signal)
{
	(void)signal;
}

/* How many pages would not move so far: pgmigrate_fail of the whole machine. */
static long failures(void)
{
	static const char name[] = "pgmigrate_fail ";
	char text[1 << 14] = "", *at;
	int file = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	ssize_t length = 0, more;

	while (file >= 0 && (more = read(file, text + length, sizeof text - 1 - length)) > 0)
		length += more;
	close(file);
	at = strstr(text, name);
	return at ? atol(at + strlen(name)) : 0;
}

/* One look's time by a process of its own, which a signal ends. The process has no copy of the address space, by which each page would be mapped twice. */
static int try_offline(long look)
{
	int status;
	pid_t child = vfork();

	if (!child) {
		sigaction(SIGALRM, &(struct sigaction){.sa_handler = give_up}, NULL);
		setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {look / 1000000, look % 1000000}}, NULL);
		_exit(write(state, "offline", 7) < 0 ? errno : 0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

/* 0, or an error number: EINTR where pages would not move. */
static int take_offline(void)
{
	int error = EINTR, held = 0;

	for (int look = 0; error == EINTR && look < LOOKS && held < HELD; look++) {
		long before = failures();

		error = try_offline((long)LOOK << held);
		if (failures() - before >= FAILURES)
			held++;
	}
	return error;
}

int do_offline_pages(const long *arg, int makes)
{
	int error = is("online") ? take_offline() : EBUSY;

	if (error == EINVAL && is("offline")) /* somebody else has taken it meanwhile */
		error = EBUSY;
	(void)arg, (void)makes;
	return error ? ERRNO | error : DONE;
}

const char *place_movable(int needed)
{
	if (state < 0 || is("online") == needed)
		return NULL;
	if (needed)
		return write(state, "online_movable", 14) < 0 ? "the movable block does not come online" : NULL;
	for (int tries = 0; tries < TRIES; tries++)
		if (!take_offline())
			return NULL;
	return "the movable block does not go offline";
}
