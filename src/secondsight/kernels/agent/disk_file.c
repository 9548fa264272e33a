/*
 * Files on a disk: of the file system that lies in persistent memory (fs_dax.c), in a folder whose files have a page cache and blocks, as on any other disk. That disk is
 * done with what it reads or writes at once.
 *
 * A file begins as a hole, of which nothing is in memory. Nothing is read ahead: what is in memory somebody has touched.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER FILE_SYSTEM "/disk"

static int ready;

int want_dax(const char *folder)
{
	struct fsxattr attributes;
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int failed = fd < 0 || ioctl(fd, FS_IOC_FSGETXATTR, &attributes);

	attributes.fsx_xflags |= FS_XFLAG_DAX;
	failed = failed || ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
	if (fd >= 0)
		close(fd);
	return failed;
}

static int make_file(const char *name, long pages)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd >= 0 && ftruncate(fd, pages * PAGE)) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* `disk`: its name in /dev. */
static int reads_nothing_ahead(const char *disk)
{
	char setting[64];
	int fd, done;

	snprintf(setting, sizeof setting, "/sys/block/%s/queue/read_ahead_kb", strrchr(disk, '/') + 1);
	fd = open(setting, O_WRONLY | O_CLOEXEC);
	done = fd >= 0 && write(fd, "0", 1) == 1;

	if (fd >= 0)
		close(fd);
	return done;
}

void begin_disk_files(const char *disk)
{
	int fd = -1;

	if (reads_nothing_ahead(disk) && !mkdir(FOLDER, 0755))
		fd = make_file(FOLDER "/first", 1);
	ready = fd >= 0 && !is_dax(fd);
	if (!ready)
		printf("secondsight: no files with a page cache in " FOLDER ": %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
}

int has_disk_files(void) { return ready; }

const char *place_disk_files(int needed)
{
	if (!needed)
		return NULL;
	return ready ? make_empty(FOLDER) : "there is no file system for files on a disk";
}

int do_disk_file(const long *arg, int makes)
{
	char name[32];

	snprintf(name, sizeof name, FOLDER "/%d", makes);
	return keep_file(make_file(name, arg[0]), makes);
}

int do_fsync(const long *arg, int makes)
{
	(void)makes;
	return fsync(descriptor(arg[0])) ? failed() : DONE;
}

int do_msync(const long *arg, int makes)
{
	(void)makes;
	return msync(address(arg), arg[2] * UNIT, MS_SYNC) ? failed() : DONE;
}

int do_fadvise_dontneed(const long *arg, int makes)
{
	int error = posix_fadvise(descriptor(arg[0]), arg[1] * PAGE, arg[2] * PAGE, POSIX_FADV_DONTNEED);

	(void)makes;
	return error ? ERRNO | error : DONE;
}

int do_disk_file_punch_hole(const long *arg, int makes)
{
	(void)makes;
	return fallocate(descriptor(arg[0]), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, arg[1] * PAGE, arg[2] * PAGE) ? failed() : DONE;
}

int do_pread(const long *arg, int makes)
{
	unsigned char page[PAGE];
	ssize_t got = pread(descriptor(arg[0]), page, PAGE, arg[1] * PAGE);

	(void)makes;
	if (got < 0)
		return failed();
	for (ssize_t i = 8; i < got; i++)
		if (page[i])
			return TORN;
	return PAGE_VALUE | (got ? page[0] : 0);
}
