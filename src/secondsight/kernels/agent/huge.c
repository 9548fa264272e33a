/*
 * Operations on huge pages. A page of a scenario that has any is half a huge page; of it the first PAGE bytes are used.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* since Linux 6.1 */
#endif

/* include/uapi/linux/fs.h, since Linux 6.7: the C library's may be older */
struct scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct scan) /* PAGEMAP_SCAN */
enum { IS_HUGE = 1 << 3 | 1 << 6 }; /* PAGE_IS_PRESENT, PAGE_IS_HUGE: of a file's huge page the latter alone means an empty entry */

/* Whether a page is a part of a huge page that one entry maps; -1: the kernel does not say. */
static int is_huge(char *page)
{
	uint64_t region[3];
	struct scan scan = {
		.size = sizeof scan,
		.start = (uintptr_t)page,
		.end = (uintptr_t)page + PAGE,
		.vec = (uintptr_t)region,
		.vec_len = 1,
		.category_mask = IS_HUGE,
		.return_mask = IS_HUGE,
	};
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int found = ioctl(file, SCAN, &scan), problem = errno;

	close(file);
	errno = problem;
	return found;
}

static int says(const char *file, const char *word)
{
	char text[64] = "";
	int fd = open(file, O_RDONLY | O_CLOEXEC), length = fd < 0 ? 0 : (int)read(fd, text, sizeof text - 1);

	close(fd);
	return length > 0 && strstr(text, word);
}

/* khugepaged sleeps where the machine is ours (guest.c): else it may do at any time what MADV_COLLAPSE does. */
int has_huge(void)
{
	return says("/sys/kernel/mm/transparent_hugepage/enabled", "[madvise]") &&
	       says("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "4294967295") && is_huge(WINDOW(0)) >= 0;
}

/* A pool that is large enough for any scenario. */
int has_hugetlb(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/nr_hugepages", O_RDONLY | O_CLOEXEC), length = fd < 0 ? 0 : (int)read(fd, text, sizeof text - 1);

	close(fd);
	return length > 0 && atoi(text) >= SS_WINDOW_PAGES;
}

static int set_pool(long pages)
{
	char text[24];
	int fd = open("/proc/sys/vm/nr_hugepages", O_RDWR | O_CLOEXEC);
	int length = sprintf(text, "%ld", pages), done = fd >= 0 && write(fd, text, length) == length;

	done = done && pread(fd, text, sizeof text - 1, 0) > 0 && atol(text) == pages;
	close(fd);
	return done;
}

const char *place_pool(int needed)
{
	static int limited;

	if (limited && !set_pool(POOL))
		return "the pool of huge pages does not grow again";
	limited = needed;
	return NULL;
}

/* A guest alone may: on the running machine the agent is nobody. */
int do_hugetlb_pool(const long *arg, int makes)
{
	(void)makes;
	return set_pool(arg[0] / 2) ? DONE : failed();
}

int do_memfd_create_hugetlb(const long *arg, int makes)
{
	int fd = memfd_create("secondsight", MFD_ALLOW_SEALING | MFD_CLOEXEC | MFD_HUGETLB);

	if (fd < 0 || ftruncate(fd, arg[0] * UNIT) || (arg[1] && fcntl(fd, F_ADD_SEALS, arg[1])))
		return failed();
	return keep_file(fd, makes);
}

int do_madvise_hugepage(const long *arg, int makes)
{
	(void)makes;
	return madvise(address(arg), arg[2] * UNIT, MADV_HUGEPAGE) ? failed() : DONE;
}

int do_madvise_collapse(const long *arg, int makes)
{
	(void)makes;
	return madvise(address(arg), arg[2] * UNIT, MADV_COLLAPSE) ? failed() : DONE;
}

int do_page_is_huge(const long *arg, int makes)
{
	int found = is_huge(address(arg));

	(void)makes;
	return found < 0 ? failed() : PAGE_VALUE | (found ? 'h' : '-');
}
