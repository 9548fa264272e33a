/*
 * The agent's machine when it is /init of a guest: the port is virtio-serial's, the end is the machine's.
 *
 *   crash                  panic the kernel: a test of the host's side
 *   program NAME           run /programs/NAME, one line of its output an answer, then how it ended
 *       -> {"line":"ok 1 open_close"}
 *       -> {"ended":"exit:0"} or {"ended":"signal:11"}
 *   boot                   which boot this is, by the kernel's own mark, another after each
 *       -> {"boot":"0c8d5d4e-9bbd-4e2f-b6b5-0e1a5b8f6f3d"}
 */
#define _GNU_SOURCE
#include "agent.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#define THP "/sys/kernel/mm/transparent_hugepage/"

/* A setting of the kernel's, if it has it. */
static void write_setting(const char *file, const char *value)
{
	int setting = open(file, O_WRONLY | O_CLOEXEC);

	if (setting >= 0 && write(setting, value, strlen(value)) < 0)
		printf("secondsight: %s cannot be set\n", file);
	close(setting);
}

/* Transparent ones where they are asked for, and from nobody but the scenario; and a pool of others. A machine with little memory begins with everything off. */
static void want_huge_pages(void)
{
	write_setting(THP "khugepaged/scan_sleep_millisecs", "4294967295");
	write_setting(THP "use_zero_page", "1");
	write_setting(THP "defrag", "madvise");
	write_setting(THP "enabled", "madvise");
	write_setting("/proc/sys/vm/nr_hugepages", "16");
}

int begin_machine(int count, char **words)
{
	(void)count, (void)words;
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mkdir("/sys", 0755);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	want_huge_pages();
	begin_movable();
	begin_lists();
	load_modules();
	begin_dax();
	begin_fs_dax();
	for (int i = 0; i < 2000; i++) {
		int port = open("/dev/vport0p1", O_RDWR | O_CLOEXEC);
		if (port >= 0)
			return port;
		usleep(5000);
	}
	puts("secondsight: no virtio-serial port /dev/vport0p1 in this kernel "
	     "(CONFIG_VIRTIO_PCI=y and CONFIG_VIRTIO_CONSOLE=y are needed)");
	end_machine();
}

void drop_rights(void) {}

/* In the kernel's log: when it crashes, the console shows whose it was. */
void note_scenario(const char *name)
{
	char note[128];
	int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	int length = snprintf(note, sizeof note, "<1>secondsight: scenario %s\n", name);

	if (log < 0 || write(log, note, length) != length)
		puts("secondsight: no notes in the kernel's log");
	close(log);
}

void end_machine(void)
{
	for (;;)
		reboot(RB_AUTOBOOT); /* with -no-reboot this ends the machine */
}

static void crash(void)
{
	int trigger = open("/proc/sysrq-trigger", O_WRONLY);
	if (write(trigger, "c", 1) != 1)
		abort(); /* init's end is a panic too */
}

static void tell_boot(void)
{
	char id[64] = "";
	int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (file < 0 || read(file, id, sizeof id - 1) <= 0)
		say("{\"error\":\"this kernel does not tell its boots apart: no /proc/sys/kernel/random/boot_id\"}\n");
	else
		say("{\"boot\":\"%.*s\"}\n", (int)strcspn(id, "\n"), id);
	close(file);
}

int machine_command(const char *line)
{
	if (!strcmp(line, "crash"))
		crash();
	else if (!strcmp(line, "boot"))
		tell_boot();
	else if (!strncmp(line, "program ", 8))
		run_program(line + 8);
	else
		return 0;
	return 1;
}
