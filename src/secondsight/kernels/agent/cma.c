/*
 * The area of contiguous memory (CMA) that a driver may want as a whole. secondsight.ko has it, so that nobody's pages are there, but for the
 * scenarios that ask for it: when a run of those begins, it has just been given back, and what is freed last is had first.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "secondsight.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* How often it is asked for: a page that is on a list of a CPU's for a moment is none that somebody holds. */
enum { TRIES = 4, BETWEEN_NS = 2000000 };

static int has;

/* 0, or an error number. */
static int change(int allocates)
{
	int file = open(SS_DEVICE, O_RDWR | O_CLOEXEC), error = file < 0 || ioctl(file, SS_CMA, allocates) ? errno : 0;

	if (file >= 0)
		close(file);
	return error;
}

static int take(void)
{
	int error = EBUSY;

	for (int i = 0; error == EBUSY && i < TRIES; i++) {
		if (i)
			nanosleep(&(struct timespec){.tv_nsec = BETWEEN_NS}, NULL);
		error = change(1);
	}
	return error;
}

void begin_cma(void) { has = !take(); }

int has_cma(void) { return has; }

const char *place_cma(int needed)
{
	static int given;

	if (!has || (!needed && !given))
		return NULL;
	change(0);
	given = 0;
	for (int i = 0; i < TRIES && (given = !!take()); i++)
		;
	if (given)
		return "the area of contiguous memory cannot be emptied";
	if (needed && change(0))
		return "the area of contiguous memory is not given back";
	given = needed;
	return NULL;
}

int do_cma_alloc(const long *arg, int makes)
{
	int error = take();

	(void)arg, (void)makes;
	return error ? ERRNO | error : DONE;
}
