/*
 * Device memory that has a file (device-dax): memory that the boot line has set aside for a special purpose, which dax_hmem makes a device of
 * (kernels/qemu.py, kernels/dax_modules.py). Its pages are mapped one by one.
 *
 * The device is bound to its driver, and the memory that scenarios use is zero, when a run begins that needs it. What takes it away writes to the
 * driver's `unbind`; a later run binds it again.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "dax0.0"
#define DEVICE "/sys/bus/dax/devices/" NAME
#define DRIVER "/sys/bus/dax/drivers/device_dax/"

enum { PAGES = 64 };

/* Write a word to a file of sysfs. 0, or an error number. */
static int tell(const char *file, const char *word)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC), error = 0;

	if (fd < 0 || write(fd, word, strlen(word)) < 0)
		error = errno;
	if (fd >= 0)
		close(fd);
	return error;
}

static int is_bound(void) { return !access(DEVICE "/driver", F_OK); }

int has_dax(void)
{
	char text[16] = "";
	int fd = open(DEVICE "/align", O_RDONLY | O_CLOEXEC);
	int length = fd < 0 ? 0 : (int)read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	return length > 0 && atoi(text) == PAGE;
}

/* Memory for a special purpose is for kmem, which would make System RAM of it, until the other driver is asked for by name. */
void begin_dax(void)
{
	if (access(DEVICE, F_OK))
		return;
	tell(DRIVER "new_id", NAME);
	tell(DRIVER "unbind", NAME);
	tell(DEVICE "/align", "4096");
}

const char *place_dax(int needed)
{
	int fd;
	char *memory;

	if (!needed)
		return NULL;
	if (!has_dax())
		return "there is no device memory";
	if (!is_bound() && tell(DRIVER "bind", NAME))
		return "the device memory is not bound to its driver";
	fd = open("/dev/" NAME, O_RDWR | O_CLOEXEC);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (memory == MAP_FAILED)
		return "the device memory cannot be mapped";
	memset(memory, 0, PAGES * PAGE);
	munmap(memory, PAGES * PAGE);
	return NULL;
}

int do_dax(const long *arg, int makes)
{
	(void)arg;
	return keep_file(open("/dev/" NAME, O_RDWR | O_CLOEXEC), makes);
}

int do_dax_remove(const long *arg, int makes)
{
	int error = tell(DRIVER "unbind", NAME);

	(void)arg, (void)makes;
	return error ? ERRNO | error : DONE;
}
