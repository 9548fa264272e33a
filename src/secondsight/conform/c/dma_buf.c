/*
 * drivers/dma-buf/dma-buf.c as it is, with one buffer, its exporter, its importers, and a look at its state. See
 * conform/targets/dma_buf.py, which has the same world in the model: the numbers of operations and the form of the look are
 * those there.
 */
#include SS_KERNEL_FILE

#include <linux/version.h>

#include "conform.h"

#define SLOTS 3

/* An importer: its device, its attachment, and the table that it was last given and has not given back. */
struct importer {
	struct device dev;
	struct dma_buf_attachment *attach;
	struct sg_table *table;
	int dynamic, obeys, count, turn;
	unsigned int given; /* the frame of the table that the exporter made for it last */
};

static struct dma_buf *buf;
static struct importer *importer;
static int frame, maps, pins, cpus, refuses_map, refuses_pin, turn;

/* The reservation lock, and fences, of which there are none. */

static int resv_is_free(void *lock) { return atomic_long_read(&((struct ww_mutex *)lock)->base.owner) == 0; }

int ww_mutex_lock(struct ww_mutex *lock, struct ww_acquire_ctx *ctx)
{
	ss_stop("resv_lock", SS_FROM, resv_is_free, lock);
	atomic_long_set(&lock->base.owner, 1);
	return 0;
}

void ww_mutex_unlock(struct ww_mutex *lock)
{
	ss_stop("resv_unlock", SS_FROM, 0, 0);
	atomic_long_set(&lock->base.owner, 0);
}

long dma_resv_wait_timeout(struct dma_resv *obj, enum dma_resv_usage usage, bool intr, unsigned long timeout) { return 1; }

/* The exporter. A table's `nents` is the number of the frame that it stands for. */

static struct sg_table *map(struct dma_buf_attachment *attach, enum dma_data_direction direction)
{
	struct sg_table *table = ERR_PTR(-EBUSY);

	ss_stop("map", SS_FROM, 0, 0);
	if (!refuses_map) {
		maps++;
		table = ss_alloc(sizeof(*table));
		table->nents = container_of(attach->dev, struct importer, dev)->given = frame;
	}
	ss_stop("back", SS_FROM, 0, 0);
	return table;
}

static void unmap(struct dma_buf_attachment *attach, struct sg_table *table, enum dma_data_direction direction)
{
	ss_stop("unmap", SS_FROM, 0, 0);
	maps--;
	ss_stop("back", SS_FROM, 0, 0);
}

static int pin(struct dma_buf_attachment *attach)
{
	int ret;

	ss_stop("pin", SS_FROM, 0, 0);
	ret = refuses_pin ? -EINVAL : 0;
	pins += !ret;
	ss_stop("back", SS_FROM, 0, 0);
	return ret;
}

static void unpin(struct dma_buf_attachment *attach)
{
	ss_stop("unpin", SS_FROM, 0, 0);
	pins--;
	ss_stop("back", SS_FROM, 0, 0);
}

static int begin(struct dma_buf *of, enum dma_data_direction direction)
{
	ss_stop("begin", SS_FROM, 0, 0);
	if (!refuses_map)
		cpus += direction == DMA_BIDIRECTIONAL ? 2 : 1;
	ss_stop("back", SS_FROM, 0, 0);
	return refuses_map ? -EBUSY : 0;
}

static int end(struct dma_buf *of, enum dma_data_direction direction)
{
	ss_stop("end", SS_FROM, 0, 0);
	if (!refuses_pin)
		cpus -= direction == DMA_BIDIRECTIONAL ? 2 : 1;
	ss_stop("back", SS_FROM, 0, 0);
	return refuses_pin ? -EINVAL : 0;
}

static void nothing(struct dma_buf *of) { }

#define CPU .begin_cpu_access = begin, .end_cpu_access = end
static const struct dma_buf_ops fixed = { .map_dma_buf = map, .unmap_dma_buf = unmap, .release = nothing, CPU };
static const struct dma_buf_ops caching = { .cache_sgt_mapping = true, .map_dma_buf = map, .unmap_dma_buf = unmap, .release = nothing, CPU };
static const struct dma_buf_ops moving = { .pin = pin, .unpin = unpin, .map_dma_buf = map, .unmap_dma_buf = unmap, .release = nothing, CPU };

/* The importers. */

static bool is_mapped(struct importer *me) { return me->attach && (me->table || me->attach->sgt); }

static void give_back(struct importer *me)
{
	struct dma_buf_attachment *attach = me->attach;
	struct sg_table *table = me->table ? me->table : attach->sgt;

	ss_stop("give_back", 0, 0, 0);
	dma_buf_unmap_attachment(attach, table, DMA_BIDIRECTIONAL);
	me->table = NULL;
}

static void move_notify(struct dma_buf_attachment *attach)
{
	struct importer *me = container_of(attach->dev, struct importer, dev);
	bool gives_back;

	ss_stop("move_notify", SS_FROM, 0, 0);
	me->count++;
	me->turn = ++turn;
	gives_back = me->obeys && is_mapped(me);
	if (gives_back)
		give_back(me);
	ss_stop("moved", SS_FROM, 0, 0);
}

static const struct dma_buf_attach_ops follows = { .move_notify = move_notify };

/* Operations; their numbers are those of `Op` in conform/targets/dma_buf.py. */

enum { OP_ATTACH, OP_DETACH, OP_MAP, OP_UNMAP, OP_PIN, OP_UNPIN, OP_MOVE, OP_BEGIN, OP_END };

static long with_lock(int operation, struct importer *me)
{
	struct sg_table *table;
	long ret = 0;

	dma_resv_lock(buf->resv, NULL);
	ss_stop("locked", 0, 0, 0);
	switch (operation) {
	case OP_MAP:
		table = dma_buf_map_attachment(me->attach, DMA_BIDIRECTIONAL);
		if (IS_ERR(table))
			ret = PTR_ERR(table);
		else if ((me->table = table)->nents != me->given)
			ret = -EIO;
		break;
	case OP_UNMAP:
		if (is_mapped(me))
			give_back(me);
		else
			ret = 1;
		break;
	case OP_PIN:
		ret = dma_buf_pin(me->attach);
		break;
	case OP_UNPIN:
		dma_buf_unpin(me->attach);
		break;
	case OP_MOVE:
		dma_buf_move_notify(buf);
		ss_stop("move", 0, 0, 0);
		frame = 3 - frame;
		break;
	}
	dma_resv_unlock(buf->resv);
	return ret;
}

long ss_operate(int operation, const long *at)
{
	struct importer *me = &importer[at[0] % SLOTS];
	struct dma_buf_attachment *attach;

	if (operation == OP_MOVE)
		return with_lock(operation, NULL);
	if (operation == OP_BEGIN)
		return dma_buf_begin_cpu_access(buf, at[0] % 2 ? DMA_BIDIRECTIONAL : DMA_FROM_DEVICE);
	if (operation == OP_END)
		return dma_buf_end_cpu_access(buf, at[0] % 2 ? DMA_BIDIRECTIONAL : DMA_FROM_DEVICE);
	ss_stop("operation", 0, 0, 0);
	if (operation == OP_ATTACH) {
		if (me->attach)
			return 1;
		ss_stop("attach", 0, 0, 0);
		attach = me->dynamic ? dma_buf_dynamic_attach(buf, &me->dev, &follows, me) : dma_buf_attach(buf, &me->dev);
		ss_stop("attached", 0, 0, 0);
		if (IS_ERR(attach))
			return -1;
		me->attach = attach;
		return 0;
	}
	if (!me->attach)
		return 1;
	if (operation == OP_DETACH) {
		attach = me->attach;
		me->attach = NULL;
		me->table = NULL;
		dma_buf_detach(buf, attach);
		return 0;
	}
	return with_lock(operation, me);
}

/* The world. Arguments: the exporter's kind (0: it never moves the buffer, 1: and keeps mappings, 2: it moves it), whether it
 * refuses to pin and to map; of each importer whether it is dynamic, whether it gives its table back when it is told, and
 * whether it is attached. */

void ss_setup(const long *at)
{
	static const struct dma_buf_ops *const kinds[] = { &fixed, &caching, &moving };
	long i;

	buf = ss_alloc(sizeof(*buf));
	buf->resv = ss_alloc(sizeof(*buf->resv));
	buf->ops = kinds[at[0]];
	INIT_LIST_HEAD(&buf->attachments);
	importer = ss_alloc(SLOTS * sizeof(*importer));
	frame = 1;
	maps = pins = cpus = turn = 0;
	refuses_pin = refuses_map = 0;
	for (i = 0; i < SLOTS; i++) {
		importer[i].dynamic = at[3 + i * 3];
		importer[i].obeys = at[4 + i * 3];
		if (at[5 + i * 3])
			ss_operate(OP_ATTACH, &i);
	}
	refuses_pin = at[1];
	refuses_map = at[2];
}

void ss_poke(int what, const long *arguments) { }

/* The look. */

void ss_look(void)
{
	struct dma_buf_attachment *attach;
	struct importer *me;
	int most = 20;

	ss_text("resv=");
	ss_number(atomic_long_read(&buf->resv->lock.base.owner));
	ss_text(" frame=");
	ss_number(frame);
	ss_text(" maps=");
	ss_number(maps);
	ss_text(" pins=");
	ss_number(pins);
	ss_text(" cpus=");
	ss_number(cpus);
	ss_text(" turn=");
	ss_number(turn);
	ss_text(" list=");
	list_for_each_entry(attach, &buf->attachments, node) {
		if (!most--)
			break;
		me = container_of(attach->dev, struct importer, dev);
		ss_number(me - importer);
		ss_text(attach->sgt ? "+" : me->table ? "=" : "-");
		ss_number(attach->sgt ? attach->sgt->nents : me->table ? me->given : 0);
	}
	for (me = importer; me < importer + SLOTS; me++) {
		ss_text(" told=");
		ss_number(me->count);
		ss_text(":");
		ss_number(me->turn);
	}
}

/* Files, descriptors, fences, and what else there is of a buffer. */
SS_NEVER(mem_dump_obj);
SS_NEVER(__dynamic_pr_debug);
SS_NEVER(__fortify_panic);
SS_NEVER(__wake_up_locked_key);
SS_NEVER(__warn_printk);
SS_NEVER(_copy_from_user);
SS_NEVER(_copy_to_user);
SS_NEVER(alloc_anon_inode);
SS_NEVER(alloc_file_pseudo);
SS_NEVER(compat_ptr_ioctl);
SS_NEVER(debugfs_create_dir);
SS_NEVER(debugfs_create_file);
SS_NEVER(debugfs_remove);
SS_NEVER(dma_fence_add_callback);
SS_NEVER(dma_fence_get_stub);
SS_NEVER(dma_fence_release);
SS_NEVER(dma_fence_unwrap_first);
SS_NEVER(dma_fence_unwrap_next);
SS_NEVER(dma_resv_add_fence);
SS_NEVER(dma_resv_describe);
SS_NEVER(dma_resv_fini);
SS_NEVER(dma_resv_get_singleton);
SS_NEVER(dma_resv_init);
SS_NEVER(dma_resv_iter_first);
SS_NEVER(dma_resv_iter_next);
SS_NEVER(dma_resv_reserve_fences);
SS_NEVER(dynamic_dname);
SS_NEVER(fd_install);
SS_NEVER(fget);
SS_NEVER(fput);
SS_NEVER(get_unused_fd_flags);
SS_NEVER(init_pseudo);
SS_NEVER(inode_set_bytes);
SS_NEVER(iput);
SS_NEVER(kern_mount);
SS_NEVER(kern_unmount);
SS_NEVER(kill_anon_super);
SS_NEVER(module_put);
SS_NEVER(mutex_lock_interruptible);
SS_NEVER(put_unused_fd);
SS_NEVER(refcount_warn_saturate);
SS_NEVER(seq_lseek);
SS_NEVER(seq_printf);
SS_NEVER(seq_read);
SS_NEVER(seq_write);
SS_NEVER(single_open);
SS_NEVER(single_release);
SS_NEVER(sized_strscpy);
SS_NEVER(strndup_user);
SS_NEVER(strnlen);
SS_NEVER(sync_file_create);
SS_NEVER(sync_file_get_fence);
SS_NEVER(try_module_get);
SS_NEVER(vma_set_file);
SS_NEVER(ww_mutex_lock_interruptible);
