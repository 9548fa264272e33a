/*
 * Programs that came with the initramfs, such as the kernel's own tests: run to their end, their output told.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DMIRRORS = 4 };

static void set(const char *path, const char *value)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t length = strlen(value);

	if (file < 0 || write(file, value, length) != length)
		printf("secondsight: %s cannot be set to %s\n", path, value);
	close(file);
}

/* The kernel's HMM test device has nodes only where something makes them: its major is in /proc/devices. */
static void make_dmirrors(void)
{
	char line[128], path[32];
	int major;
	FILE *devices = fopen("/proc/devices", "re");

	while (devices && fgets(line, sizeof line, devices))
		if (sscanf(line, "%d HMM_DMIRROR", &major) == 1 && strstr(line, "HMM_DMIRROR"))
			for (int minor = 0; minor < DMIRRORS; minor++) {
				sprintf(path, "/dev/hmm_dmirror%d", minor);
				mknod(path, S_IFCHR | 0600, makedev(major, minor));
			}
	if (devices)
		fclose(devices);
}

/* Huge pages of 2 MiB for all memory but the half of a small machine, or 512 MiB of a large one. */
static void set_huge_pages(void)
{
	struct sysinfo memory;
	char count[24];

	sysinfo(&memory);
	long megabytes = memory.totalram * memory.mem_unit >> 20, rest = megabytes < 1024 ? megabytes / 2 : 512;
	sprintf(count, "%ld", (megabytes - rest) / 2);
	set("/proc/sys/vm/nr_hugepages", count);
}

/* What the kernel's own tests expect of a machine: its file systems, huge pages, devices. */
static void prepare(void)
{
	static int prepared;

	if (prepared++)
		return;
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
	set("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
	set_huge_pages();
	make_dmirrors();
}

static void say_line(const char *text)
{
	char safe[6 * 512 + 1], *at = safe;

	for (; *text && at < safe + sizeof safe - 7; text++) {
		unsigned char c = *text;
		if (c < ' ' || c == '"' || c == '\\')
			at += sprintf(at, "\\u%04x", c);
		else
			*at++ = c < 127 ? c : '?';
	}
	*at = 0;
	say("{\"line\":\"%s\"}\n", safe);
}

void run_program(const char *name)
{
	char path[128], line[512];
	int ends[2], status;

	prepare();
	snprintf(path, sizeof path, "/programs/%s", name);
	if (pipe2(ends, O_CLOEXEC)) {
		say("{\"error\":\"no pipe for %s\"}\n", path);
		return;
	}
	pid_t pid = fork();
	if (!pid) {
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		if (chdir("/tmp"))
			_exit(126);
		execl(path, name, (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	FILE *output = fdopen(ends[0], "re");
	while (output && fgets(line, sizeof line, output)) {
		line[strcspn(line, "\n")] = 0;
		say_line(line);
	}
	if (output)
		fclose(output);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		say("{\"ended\":\"signal:%d\"}\n", WTERMSIG(status));
	else
		say("{\"ended\":\"exit:%d\"}\n", WEXITSTATUS(status));
}
