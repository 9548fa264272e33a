/*
 * The operations on the devices of secondsight.ko, and the probe of a device's table.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "secondsight.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int session = -1;

int has_module(void)
{
	return !access(SS_DEVICE, R_OK | W_OK);
}

static int outcome(int failed) { return failed ? ERRNO | errno : DONE; }

static int loaded(const struct ss_access *access)
{
	return access->value == SS_TORN ? TORN : PAGE_VALUE | (int)access->value;
}

/* Do an access, and note what it tells beside its result. */
static int do_access(unsigned long command, struct ss_access *access)
{
	int ret = ioctl(session, command, access);

	left->begun[current_op] = access->begun;
	if (access->late)
		left->late[current_op] = access->late;
	return ret;
}

/* A mirror */

int do_device(const long *arg, int makes)
{
	struct ss_mirror_open open = {.handle = makes, .page_shift = scenario.page_bits};

	(void)arg;
	memcpy(open.variant, scenario.driver, sizeof open.variant);
	return outcome(ioctl(session, SS_MIRROR_OPEN, &open));
}

int do_closed_device(const long *arg, int makes)
{
	struct ss_mirror_open open = {.handle = makes, .page_shift = scenario.page_bits, .later = 1};

	(void)arg;
	memcpy(open.variant, scenario.driver, sizeof open.variant);
	return outcome(ioctl(session, SS_MIRROR_OPEN, &open));
}

int do_device_open(const long *arg, int makes)
{
	(void)makes;
	return outcome(ioctl(session, SS_MIRROR_SUBSCRIBE, arg[0]));
}

int do_device_reset(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0]};

	(void)makes;
	return outcome(do_access(SS_MIRROR_RESET, &access));
}

int do_device_read(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = (unsigned long)address(arg + 1)};

	(void)makes;
	return do_access(SS_MIRROR_ACCESS, &access) ? ERRNO | errno : loaded(&access);
}

int do_device_write(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = (unsigned long)address(arg + 1), .write = 1, .value = arg[3]};

	(void)makes;
	return outcome(do_access(SS_MIRROR_ACCESS, &access));
}

/* What an access ended with: a value, or -1 for any failure. */
static int value_or_failure(int result)
{
	return (result & ~0xffff) == PAGE_VALUE || result == TORN ? result : -1;
}

int do_device_compare(const long *arg, int makes)
{
	int cpu = value_or_failure(do_read(arg + 1, makes)), device = value_or_failure(do_device_read(arg, makes));

	return cpu == device ? DONE : DIFFERS;
}

static int of_second_half(const long *arg, int write)
{
	struct ss_access access = {.handle = arg[0], .addr = (unsigned long)address(arg + 1), .write = write, .value = write ? arg[3] : 0, .half = 1};

	if (do_access(SS_MIRROR_ACCESS, &access))
		return ERRNO | errno;
	return write ? DONE : loaded(&access);
}

int do_device_read_half(const long *arg, int makes) { return (void)makes, of_second_half(arg, 0); }

int do_device_write_half(const long *arg, int makes) { return (void)makes, of_second_half(arg, 1); }

int do_device_compare_half(const long *arg, int makes)
{
	int cpu = value_or_failure(do_read_half(arg + 1, makes)), device = value_or_failure(do_device_read_half(arg, makes));

	return cpu == device ? DONE : DIFFERS;
}

int do_device_close(const long *arg, int makes)
{
	(void)makes;
	return outcome(ioctl(session, SS_MIRROR_CLOSE, arg[0]));
}

int do_device_snapshot(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = (unsigned long)address(arg + 1)};

	(void)makes;
	if (do_access(SS_MIRROR_SNAPSHOT, &access))
		return ERRNO | errno;
	return PAGE_VALUE | "-rwRWhH"[access.value];
}

int do_watch_flushes(const long *arg, int makes)
{
	struct ss_mirror_open open = {.page_shift = scenario.page_bits};

	(void)arg;
	(void)makes;
	return outcome(ioctl(session, SS_WATCH, &open));
}

int do_flushed(const long *arg, int makes)
{
	struct ss_access access = {.addr = (unsigned long)address(arg)};

	(void)makes;
	return do_access(SS_WATCH_TOLD, &access) ? ERRNO | errno : PAGE_VALUE | "-f"[access.value];
}

int do_device_exclusive(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = (unsigned long)address(arg + 1), .write = 1, .value = arg[3]};

	(void)makes;
	return do_access(SS_MIRROR_EXCLUSIVE, &access) ? ERRNO | errno : loaded(&access);
}

int do_make_device_exclusive(const long *arg, int makes)
{
	struct ss_access access = {.addr = (unsigned long)address(arg)};

	(void)makes;
	return outcome(ioctl(session, SS_MAKE_EXCLUSIVE, &access));
}

int do_device_migrate(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = (unsigned long)address(arg + 1), .value = arg[3]};
	long moved = 0;

	(void)makes;
	if (UNIT == PAGE)
		return do_access(SS_MIRROR_MIGRATE, &access) ? ERRNO | errno : PAGE_VALUE | (int)('0' + access.value);
	for (long i = 0; i < arg[3]; i++, access.addr += UNIT) { /* halves of huge pages, of each its first page */
		access.value = 1;
		if (do_access(SS_MIRROR_MIGRATE, &access))
			return ERRNO | errno;
		moved += access.value;
	}
	return PAGE_VALUE | (int)('0' + moved);
}

int do_device_evict(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0]};

	(void)makes;
	return do_access(SS_MIRROR_EVICT, &access) ? ERRNO | errno : PAGE_VALUE | (int)('0' + access.value);
}

void probe_devices(void)
{
	for (int i = 0; i < scenario.probes; i++) {
		const struct probe *wanted = &scenario.probe[i];
		char *at = WINDOW(wanted->handle) + wanted->page * UNIT;
		struct ss_probe probe = {.handle = wanted->device, .addr = (unsigned long)at};
		if (left->handles[wanted->device].alive && !ioctl(session, SS_MIRROR_PROBE, &probe))
			left->probe[i] = probe.found;
	}
	left->probed = 1;
}

/* A pin */

static int do_pin_pages(const long *arg, int makes, int locked)
{
	struct ss_pin pin = {
		.handle = makes,
		.addr = (unsigned long)address(arg),
		.pages = arg[2],
		.longterm = arg[3],
		.write = arg[4],
		.page_shift = scenario.page_bits,
		.locked = locked,
	};

	return outcome(ioctl(session, SS_PIN, &pin));
}

int do_pin(const long *arg, int makes)
{
	return do_pin_pages(arg, makes, 0);
}

int do_pin_locked(const long *arg, int makes)
{
	return do_pin_pages(arg, makes, 1);
}

int do_pin_read(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = arg[1]};

	(void)makes;
	return do_access(SS_PIN_ACCESS, &access) ? ERRNO | errno : loaded(&access);
}

int do_pin_write(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = arg[1], .write = 1, .value = arg[2]};

	(void)makes;
	return outcome(do_access(SS_PIN_ACCESS, &access));
}

int do_pin_read_half(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = arg[1], .half = 1};

	(void)makes;
	return do_access(SS_PIN_ACCESS, &access) ? ERRNO | errno : loaded(&access);
}

int do_pin_write_half(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = arg[1], .write = 1, .value = arg[2], .half = 1};

	(void)makes;
	return outcome(do_access(SS_PIN_ACCESS, &access));
}

int do_unpin(const long *arg, int makes)
{
	(void)makes;
	return outcome(ioctl(session, SS_UNPIN, arg[0]));
}

/* An importer of a dma-buf */

int do_importer(const long *arg, int makes)
{
	struct ss_attach attach = {.handle = makes, .fd = descriptor(arg[0])};

	return outcome(ioctl(session, SS_ATTACH, &attach));
}

int do_importer_map(const long *arg, int makes)
{
	(void)makes;
	return outcome(ioctl(session, SS_MAP, arg[0]));
}

int do_importer_unmap(const long *arg, int makes)
{
	(void)makes;
	return outcome(ioctl(session, SS_UNMAP, arg[0]));
}

int do_importer_read(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .addr = arg[1]};

	(void)makes;
	return do_access(SS_IMPORTER_READ, &access) ? ERRNO | errno : loaded(&access);
}

int do_vmap_read(const long *arg, int makes)
{
	struct ss_access access = {.handle = descriptor(arg[0]), .addr = arg[1]};

	(void)makes;
	return do_access(SS_VMAP_READ, &access) ? ERRNO | errno : loaded(&access);
}

int do_importer_close(const long *arg, int makes)
{
	(void)makes;
	return outcome(ioctl(session, SS_DETACH, arg[0]));
}

/* A dma-buf that moves, and a device that does jobs on it */

int do_buffer(const long *arg, int makes)
{
	(void)arg;
	return keep_file(ioctl(session, SS_BUFFER), makes);
}

static int change(long handle, int what)
{
	struct ss_attach change = {.handle = what, .fd = descriptor(handle)};

	return outcome(ioctl(session, SS_BUFFER_CHANGE, &change));
}

int do_buffer_move(const long *arg, int makes)
{
	(void)makes;
	return change(arg[0], SS_MOVE);
}

int do_buffer_revoke(const long *arg, int makes)
{
	(void)makes;
	return change(arg[0], SS_REVOKE);
}

int do_buffer_restore(const long *arg, int makes)
{
	(void)makes;
	return change(arg[0], SS_RESTORE);
}

int do_attached_device(const long *arg, int makes)
{
	struct ss_attach attach = {.handle = makes, .fd = descriptor(arg[0])};

	return outcome(ioctl(session, SS_WORKER_ATTACH, &attach));
}

int do_device_job(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0], .write = 1, .value = arg[1]};

	(void)makes;
	return outcome(ioctl(session, SS_WORKER_JOB, &access));
}

int do_device_job_read(const long *arg, int makes)
{
	struct ss_access access = {.handle = arg[0]};

	(void)makes;
	return ioctl(session, SS_WORKER_JOB, &access) ? ERRNO | errno : loaded(&access);
}
