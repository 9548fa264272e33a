/*
 * A block of memory that must stay movable (ZONE_MOVABLE), which a guest has if it was given one (kernels/qemu.py): taken offline by an
 * operation, and brought back after each run.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCKS "/sys/devices/system/memory"
enum { PATIENCE = 1 }; /* seconds: for so long the kernel tries to empty the block */

static int state = -1; /* the block's file */

static int is(const char *word)
{
	char text[16] = "";

	return state >= 0 && pread(state, text, sizeof text - 1, 0) > 0 && !strncmp(text, word, strlen(word));
}

/* Bring it back, where it is not there; the next run's pages come from it first. */
void online_movable(void)
{
	if (is("offline") && write(state, "online_movable", 14) < 0)
		puts("secondsight: the movable block does not come back");
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
	online_movable();
}

int has_movable(void)
{
	return is("online");
}

static void give_up(int signal)
{
	(void)signal;
}

/* By a process of its own, which a signal ends: the kernel itself tries for ever. */
int do_offline_pages(const long *arg, int makes)
{
	int status;
	pid_t child;

	(void)arg, (void)makes;
	if (!is("online"))
		return ERRNO | EBUSY;
	child = fork();
	if (!child) {
		sigaction(SIGALRM, &(struct sigaction){.sa_handler = give_up}, NULL);
		alarm(PATIENCE);
		_exit(write(state, "offline", 7) < 0 ? errno : 0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return failed();
	if (!WIFEXITED(status))
		return ERRNO | EINTR;
	return WEXITSTATUS(status) ? ERRNO | WEXITSTATUS(status) : DONE;
}
