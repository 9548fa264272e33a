// SPDX-License-Identifier: GPL-2.0
/*
 * secondsight.ko: a device with a page table of its own on a real kernel, for scenarios to use.
 *
 * Its drivers are the right and the wrong forms of the protocols that secondsight models, and it can
 * hold a thread at the places where the model has step boundaries. It is for a virtual machine that
 * the tool has started, and for nothing else: it refuses to load anywhere else.
 *
 *	main.c		loading, and the calls of /dev/secondsight
 *	hold.c		threads, hold points, and waiting until all threads are settled
 *	mirror.c	a mirror of a process's memory; exclusive.c, private.c and probe.c are parts of it
 *	drivers.c	the mirror's drivers, by hmm_range_fault() (devices/mirror.py)
 *	watch.c		a subscriber that hears of flushes of TLBs
 *	pin.c		a device that pins pages
 *	importer.c	a device that imports a dma-buf
 *	buffer.c	a dma-buf that moves, and a device that does jobs on it
 *	hooks.c		hold points at the entry and exit of the kernel's own functions
 *	page.c		loading and storing a page's value
 *	dax.c		device memory that has a file, as a device reaches it
 *	cma.c		a driver that wants the area of contiguous memory
 *	swap.c		a swap device in memory
 */
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/cpufeature.h>

#include "compat.h"
#include "session.h"

static int ss_open(struct inode *inode, struct file *file)
{
	struct ss_session *session = kzalloc(sizeof(*session), GFP_KERNEL);

	if (!session)
		return -ENOMEM;
	ss_session_init(session);
	file->private_data = session;
	return 0;
}

/* The coordinator is gone, or done: nobody is held any longer. */
static int ss_flush(struct file *file, fl_owner_t id)
{
	struct ss_session *session = file->private_data;

	if (current->mm == session->coordinator)
		ss_session_free(session);
	return 0;
}

static int ss_release(struct inode *inode, struct file *file)
{
	struct ss_session *session = file->private_data;
	int i;

	for (i = 0; i < SS_MAX_HANDLES; i++) /* before the mirrors, whose memory comes back when nobody holds it */
		ss_pinned_free(session->pinned[i]);
	for (i = 0; i < SS_MAX_HANDLES; i++) {
		ss_mirror_free(session->mirror[i]);
		ss_importer_free(session->importer[i]);
		ss_worker_free(session->worker[i]);
	}
	ss_watch_free(session->watch);
	ss_session_end(session);
	kfree(session);
	return 0;
}

static struct miscdevice ss_misc;

union ss_argument {
	struct ss_arm arm;
	struct ss_settle settle;
	struct ss_hook hook;
	struct ss_mirror_open open;
	struct ss_access access;
	struct ss_probe probe;
	struct ss_pin pin;
	struct ss_attach attach;
};

static long call(struct ss_session *session, unsigned int command, unsigned long number, union ss_argument *arg)
{
	switch (command) {
	case SS_ARM:
		return ss_arm(session, &arg->arm);
	case SS_SETTLE:
		return ss_settle(session, &arg->settle);
	case SS_FREE:
		ss_session_free(session);
		return 0;
	case SS_HOOK:
		return ss_hook(&arg->hook);
	case SS_THREAD:
		return ss_thread(session, number);
	case SS_BEFORE:
		return ss_before(session, number);
	case SS_END:
		return ss_end(session);
	case SS_EXITS:
		return ss_exits(session);
	case SS_MIRROR_OPEN:
		return ss_mirror_open(session, &arg->open);
	case SS_MIRROR_ACCESS:
		return ss_mirror_access(session, &arg->access);
	case SS_MIRROR_SNAPSHOT:
		return ss_mirror_snapshot(session, &arg->access);
	case SS_MIRROR_EXCLUSIVE:
		return ss_mirror_exclusive(session, &arg->access);
	case SS_MIRROR_MIGRATE:
		return ss_mirror_migrate(session, &arg->access);
	case SS_MIRROR_EVICT:
		return ss_mirror_evict(session, &arg->access);
	case SS_MIRROR_SUBSCRIBE:
		return ss_mirror_subscribe(session, number);
	case SS_MIRROR_RESET:
		return ss_mirror_reset(session, &arg->access);
	case SS_MIRROR_CLOSE:
		return ss_worker_close(session, number) ? 0 : ss_mirror_close(session, number);
	case SS_MIRROR_PROBE:
		return ss_mirror_probe(session, &arg->probe);
	case SS_WATCH:
		return ss_watch_open(session, &arg->open);
	case SS_WATCH_TOLD:
		return ss_watch_told(session, &arg->access);
	case SS_PIN:
		return ss_pin(session, &arg->pin);
	case SS_PIN_ACCESS:
		return ss_pin_access(session, &arg->access);
	case SS_UNPIN:
		return ss_unpin(session, number);
	case SS_ATTACH:
		return ss_attach(session, &arg->attach, ss_misc.this_device);
	case SS_MAP:
		return ss_map(session, number);
	case SS_UNMAP:
		return ss_unmap(session, number);
	case SS_IMPORTER_READ:
		return ss_importer_read(session, &arg->access);
	case SS_VMAP_READ:
		return ss_vmap_read(&arg->access);
	case SS_DETACH:
		return ss_detach(session, number);
	case SS_BUFFER:
		return ss_buffer_export();
	case SS_BUFFER_CHANGE:
		return ss_buffer_change(&arg->attach);
	case SS_WORKER_ATTACH:
		return ss_worker_attach(session, &arg->attach, ss_misc.this_device);
	case SS_WORKER_JOB:
		return ss_worker_job(session, &arg->access);
	case SS_CMA:
		return ss_cma(ss_misc.this_device, number);
	case SS_MAKE_EXCLUSIVE:
		return ss_make_exclusive(session, &arg->access);
	}
	return -ENOTTY;
}

static long ss_ioctl(struct file *file, unsigned int command, unsigned long number)
{
	struct ss_session *session = file->private_data;
	void __user *user = (void __user *)number;
	size_t size = _IOC_SIZE(command);
	union ss_argument arg = {};
	long ret;

	if (size > sizeof(arg))
		return -ENOTTY;
	if (size && copy_from_user(&arg, user, size))
		return -EFAULT;
	ret = call(session, command, number, &arg);
	/* Errors too have something to tell: how often a fault began. */
	if ((_IOC_DIR(command) & _IOC_READ) && copy_to_user(user, &arg, size))
		return -EFAULT;
	return ret;
}

static const struct file_operations ss_operations = {
	.owner = THIS_MODULE,
	.open = ss_open,
	.flush = ss_flush,
	.release = ss_release,
	.unlocked_ioctl = ss_ioctl,
};

static struct miscdevice ss_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "secondsight",
	.mode = 0600,
	.fops = &ss_operations,
};

unsigned long ss_coherent_start, ss_dax_start, ss_cma_bytes;

/*
 * Read the machine's command line: whether it has the word that the tool starts its machines with, and the numbers that it says.
 */
static bool has_token(void)
{
	static const struct {
		const char *name;
		unsigned long *value;
	} numbers[] = { { SS_COHERENT, &ss_coherent_start }, { SS_DAX, &ss_dax_start }, { SS_CMA_BYTES, &ss_cma_bytes } };
	unsigned int i;
	struct file *file;
	char *line, *word, *rest;
	loff_t at = 0;
	bool found = false;
	ssize_t size;

	file = filp_open("/proc/cmdline", O_RDONLY, 0);
	if (IS_ERR(file))
		return false;
	line = kzalloc(PAGE_SIZE, GFP_KERNEL);
	size = line ? kernel_read(file, line, PAGE_SIZE - 1, &at) : -ENOMEM;
	filp_close(file, NULL);
	rest = size > 0 ? strim(line) : NULL;
	while ((word = strsep(&rest, " "))) {
		found |= !strcmp(word, SS_TOKEN);
		for (i = 0; i < ARRAY_SIZE(numbers); i++)
			if (!strncmp(word, numbers[i].name, strlen(numbers[i].name)) &&
			    kstrtoul(word + strlen(numbers[i].name), 0, numbers[i].value))
				pr_err("secondsight: no number: %s\n", word);
	}
	kfree(line);
	return found;
}

static int __init ss_init(void)
{
	int ret;

	if (!boot_cpu_has(X86_FEATURE_HYPERVISOR) || !has_token()) {
		pr_err("secondsight: this is no virtual machine that secondsight has started; not loading\n");
		return -EPERM;
	}
	ss_dax_init();
	ret = misc_register(&ss_misc);
	if (ret)
		return ret;
	ret = dma_coerce_mask_and_coherent(ss_misc.this_device, DMA_BIT_MASK(64));
	if (!ret)
		ret = ss_swap_init();
	if (ret)
		misc_deregister(&ss_misc);
	return ret;
}
module_init(ss_init);

/* There is no exit: the module goes with its machine. */

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A device and its drivers, right and wrong, for secondsight's virtual machines");
SS_IMPORT_DMA_BUF;
