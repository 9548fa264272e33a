// SPDX-License-Identifier: GPL-2.0
/*
 * A dma-buf of one page whose exporter moves it, takes its memory away and gives it other memory, and a device that is attached to
 * it and does jobs. The lines of devices/moving_buffer.py and devices/fenced_importer.py, both right.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/dma-buf.h>
#include <linux/dma-fence.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/highmem.h>
#include <linux/kref.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "compat.h"
#include "session.h"

/* Fences: of jobs, and of copies. */

static DEFINE_SPINLOCK(fence_lock);
static u64 copy_context;
static atomic_t seqno;

static const char *fence_name(struct dma_fence *fence) { return "secondsight"; }
static const struct dma_fence_ops fence_ops = { .get_driver_name = fence_name, .get_timeline_name = fence_name };

static struct dma_fence *new_fence(u64 *context)
{
	struct dma_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	if (!fence)
		return NULL;
	if (!*context)
		*context = dma_fence_context_alloc(1);
	dma_fence_init(fence, &fence_ops, &fence_lock, *context, atomic_inc_return(&seqno));
	return fence;
}

/* Pages of buffers are marked as such, so that a job that comes too late, or too early, is noticed and does no harm. */

enum { OF_A_BUFFER = 0x55AA };

static struct page *take_page(void)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO);

	if (page)
		set_page_private(page, OF_A_BUFFER);
	return page;
}

static void lose_page(struct page *page)
{
	if (!page)
		return;
	set_page_private(page, 0);
	__free_page(page);
}

/* The exporter. @memory: what is valid; @target: what is mapped. @mutex: one change at a time. */

struct ss_buffer {
	struct mutex mutex;
	struct page *memory, *target;
	bool revoked;
	struct kref kref;
	struct completion unmapped;
};

static void all_unmapped(struct kref *kref) { complete(&container_of(kref, struct ss_buffer, kref)->unmapped); }

static struct sg_table *map_buffer(struct dma_buf_attachment *attachment, enum dma_data_direction direction)
{
	struct ss_buffer *buffer = attachment->dmabuf->priv;
	struct sg_table *table;
	int ret = -ENODEV;

	if (buffer->revoked)
		return ERR_PTR(ret);
	table = kzalloc(sizeof(*table), GFP_KERNEL);
	if (!table)
		return ERR_PTR(-ENOMEM);
	ret = sg_alloc_table(table, 1, GFP_KERNEL);
	if (ret)
		goto free;
	sg_set_page(table->sgl, buffer->target, PAGE_SIZE, 0);
	ret = dma_map_sgtable(attachment->dev, table, direction, 0);
	if (ret)
		goto free_table;
	kref_get(&buffer->kref);
	return table;
free_table:
	sg_free_table(table);
free:
	kfree(table);
	return ERR_PTR(ret);
}

static void unmap_buffer(struct dma_buf_attachment *attachment, struct sg_table *table, enum dma_data_direction direction)
{
	struct ss_buffer *buffer = attachment->dmabuf->priv;

	dma_unmap_sgtable(attachment->dev, table, direction, 0);
	sg_free_table(table);
	kfree(table);
	kref_put(&buffer->kref, all_unmapped);
}

/* A kernel without CONFIG_DMABUF_MOVE_NOTIFY asks for a pin before each mapping: it may move all the same, for who is told obeys. */
static int pin_buffer(struct dma_buf_attachment *attachment) { return 0; }
static void unpin_buffer(struct dma_buf_attachment *attachment) { }

static void release_buffer(struct dma_buf *dmabuf)
{
	struct ss_buffer *buffer = dmabuf->priv;

	lose_page(buffer->memory);
	kfree(buffer);
}

static const struct dma_buf_ops buffer_ops = {
	.map_dma_buf = map_buffer,
	.unmap_dma_buf = unmap_buffer,
	.pin = pin_buffer,
	.unpin = unpin_buffer,
	.release = release_buffer,
};

long ss_buffer_export(void)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct ss_buffer *buffer = kzalloc(sizeof(*buffer), GFP_KERNEL);
	struct dma_buf *dmabuf;
	int fd;

	if (!buffer)
		return -ENOMEM;
	mutex_init(&buffer->mutex);
	kref_init(&buffer->kref);
	init_completion(&buffer->unmapped);
	buffer->memory = buffer->target = take_page();
	info.ops = &buffer_ops;
	info.size = PAGE_SIZE;
	info.flags = O_RDWR | O_CLOEXEC;
	info.priv = buffer;
	dmabuf = buffer->memory ? dma_buf_export(&info) : ERR_PTR(-ENOMEM);
	if (IS_ERR(dmabuf)) {
		lose_page(buffer->memory);
		kfree(buffer);
		return PTR_ERR(dmabuf);
	}
	fd = dma_buf_fd(dmabuf, O_CLOEXEC);
	if (fd < 0)
		dma_buf_put(dmabuf);
	return fd;
}

static long move_buffer(struct dma_buf *dmabuf, struct ss_buffer *buffer)
{
	struct page *page = take_page(), *old;
	struct dma_fence *before = NULL, *copied = new_fence(&copy_context);
	long ret = -ENOMEM;

	if (!page || !copied)
		goto free;
	dma_resv_lock(dmabuf->resv, NULL);
	ret = buffer->revoked ? -ENODEV : 0;
	if (!ret)
		ret = dma_resv_reserve_fences(dmabuf->resv, 1);
	if (!ret)
		ret = dma_resv_get_singleton(dmabuf->resv, DMA_RESV_USAGE_BOOKKEEP, &before);
	if (ret) {
		dma_resv_unlock(dmabuf->resv);
		goto free;
	}
	dma_buf_invalidate_mappings(dmabuf);
	dma_resv_add_fence(dmabuf->resv, copied, DMA_RESV_USAGE_KERNEL);
	buffer->target = page;
	dma_resv_unlock(dmabuf->resv);
	if (before) {
		dma_fence_wait(before, false);
		dma_fence_put(before);
	}
	old = buffer->memory;
	copy_highpage(page, old);
	buffer->memory = page;
	lose_page(old);
	dma_fence_signal(copied);
	dma_fence_put(copied);
	return 0;
free:
	lose_page(page);
	if (copied) {
		dma_fence_signal(copied);
		dma_fence_put(copied);
	}
	return ret;
}

static long revoke_buffer(struct dma_buf *dmabuf, struct ss_buffer *buffer)
{
	if (buffer->revoked)
		return 0;
	dma_resv_lock(dmabuf->resv, NULL);
	buffer->revoked = true;
	dma_buf_invalidate_mappings(dmabuf);
	dma_resv_wait_timeout(dmabuf->resv, DMA_RESV_USAGE_BOOKKEEP, false, MAX_SCHEDULE_TIMEOUT);
	dma_resv_unlock(dmabuf->resv);
	kref_put(&buffer->kref, all_unmapped);
	wait_for_completion(&buffer->unmapped);
	kref_init(&buffer->kref);
	reinit_completion(&buffer->unmapped);
	lose_page(buffer->memory);
	buffer->memory = buffer->target = NULL;
	return 0;
}

static long restore_buffer(struct dma_buf *dmabuf, struct ss_buffer *buffer)
{
	struct page *page;

	if (!buffer->revoked)
		return 0;
	page = take_page();
	if (!page)
		return -ENOMEM;
	buffer->memory = buffer->target = page;
	dma_resv_lock(dmabuf->resv, NULL);
	dma_buf_invalidate_mappings(dmabuf);
	dma_resv_wait_timeout(dmabuf->resv, DMA_RESV_USAGE_BOOKKEEP, false, MAX_SCHEDULE_TIMEOUT);
	buffer->revoked = false;
	dma_resv_unlock(dmabuf->resv);
	return 0;
}

long ss_buffer_change(const struct ss_attach *change)
{
	struct dma_buf *dmabuf = dma_buf_get(change->fd);
	struct ss_buffer *buffer;
	long ret = -EINVAL;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	if (dmabuf->ops == &buffer_ops) {
		buffer = dmabuf->priv;
		mutex_lock(&buffer->mutex);
		ret = change->handle == SS_MOVE ? move_buffer(dmabuf, buffer) :
		      change->handle == SS_REVOKE ? revoke_buffer(dmabuf, buffer) : restore_buffer(dmabuf, buffer);
		mutex_unlock(&buffer->mutex);
	}
	dma_buf_put(dmabuf);
	return ret;
}

/* The importer. @jobs: one job at a time. @told is written under the reservation lock. */

struct ss_worker {
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attachment;
	struct sg_table *table;
	bool told, closed, missed; /* missed: the last job found memory that is not a buffer's */
	struct mutex jobs;
	struct dma_fence *fence; /* of the last job */
	u64 context; /* of its jobs' fences: a later fence takes the place of an earlier one of the same */
	struct page *page;
	u32 write, value;
	struct work_struct job, unmap;
};

/* The device: does the job some time after it was queued. */
static void do_job(struct work_struct *work)
{
	struct ss_worker *worker = container_of(work, struct ss_worker, job);
	unsigned char *at;

	usleep_range(1, 200);
	worker->missed = page_private(worker->page) != OF_A_BUFFER;
	if (worker->write && !worker->missed) {
		at = kmap_local_page(worker->page);
		WRITE_ONCE(*at, worker->value);
		kunmap_local(at);
	} else {
		worker->value = ss_page_load(worker->page);
	}
	dma_fence_signal(worker->fence);
}

/* No job uses the mapping: give it back. The reservation lock is held. */
static void give_back(struct ss_worker *worker)
{
	worker->told = false;
	if (worker->fence)
		dma_fence_wait(worker->fence, false);
	if (worker->table)
		dma_buf_unmap_attachment(worker->attachment, worker->table, DMA_BIDIRECTIONAL);
	worker->table = NULL;
}

static void unmap_work(struct work_struct *work)
{
	struct ss_worker *worker = container_of(work, struct ss_worker, unmap);

	dma_resv_lock(worker->dmabuf->resv, NULL);
	if (worker->told && !worker->closed)
		give_back(worker);
	dma_resv_unlock(worker->dmabuf->resv);
}

static void move_notify(struct dma_buf_attachment *attachment)
{
	struct ss_worker *worker = attachment->importer_priv;

	worker->told = true;
	if (!worker->closed)
		queue_work(system_unbound_wq, &worker->unmap);
}

static const struct dma_buf_attach_ops importer_ops = { .allow_peer2peer = true, .SS_INVALIDATE_MAPPINGS = move_notify };

long ss_worker_attach(struct ss_session *session, const struct ss_attach *attach, struct device *device)
{
	struct ss_worker *worker;
	long ret;

	if (attach->handle >= SS_MAX_HANDLES)
		return -EINVAL;
	worker = kzalloc(sizeof(*worker), GFP_KERNEL);
	if (!worker)
		return -ENOMEM;
	mutex_init(&worker->jobs);
	INIT_WORK(&worker->job, do_job);
	INIT_WORK(&worker->unmap, unmap_work);
	worker->dmabuf = dma_buf_get(attach->fd);
	if (IS_ERR(worker->dmabuf)) {
		ret = PTR_ERR(worker->dmabuf);
		goto free;
	}
	worker->attachment = dma_buf_dynamic_attach(worker->dmabuf, device, &importer_ops, worker);
	if (IS_ERR(worker->attachment)) {
		ret = PTR_ERR(worker->attachment);
		dma_buf_put(worker->dmabuf);
		goto free;
	}
	mutex_lock(&session->devices);
	WARN_ON(session->worker[attach->handle]);
	session->worker[attach->handle] = worker;
	mutex_unlock(&session->devices);
	return 0;
free:
	kfree(worker);
	return ret;
}

/* Have a mapping, and the memory in its place. The reservation lock is held. */
static long map_locked(struct ss_worker *worker)
{
	struct sg_table *table;

	if (worker->told)
		give_back(worker);
	if (!worker->table) {
		table = dma_buf_map_attachment(worker->attachment, DMA_BIDIRECTIONAL);
		if (IS_ERR(table))
			return PTR_ERR(table);
		worker->table = table;
	}
	dma_resv_wait_timeout(worker->dmabuf->resv, DMA_RESV_USAGE_KERNEL, false, MAX_SCHEDULE_TIMEOUT);
	return 0;
}

/*
 * What the device finds at the address that it was given. With CONFIG_DMABUF_DEBUG a table names no pages to who imports it; these
 * machines have no IOMMU, so a DMA address is a physical one.
 */
static struct page *first_page(struct sg_table *table) { return pfn_to_page(PHYS_PFN(sg_dma_address(table->sgl))); }

static long submit(struct ss_worker *worker, const struct ss_access *access)
{
	struct dma_fence *fence = new_fence(&worker->context);
	long ret = -ENOMEM;

	if (!fence)
		return ret;
	dma_resv_lock(worker->dmabuf->resv, NULL);
	ret = map_locked(worker);
	if (!ret)
		ret = dma_resv_reserve_fences(worker->dmabuf->resv, 1);
	if (ret) {
		dma_resv_unlock(worker->dmabuf->resv);
		dma_fence_signal(fence);
		dma_fence_put(fence);
		return ret;
	}
	dma_fence_put(worker->fence);
	worker->fence = fence;
	worker->page = first_page(worker->table);
	worker->write = access->write;
	worker->value = access->value;
	dma_resv_add_fence(worker->dmabuf->resv, fence, DMA_RESV_USAGE_BOOKKEEP);
	queue_work(system_unbound_wq, &worker->job);
	dma_resv_unlock(worker->dmabuf->resv);
	return 0;
}

long ss_worker_job(struct ss_session *session, struct ss_access *access)
{
	struct ss_worker *worker = NULL;
	long ret = -ENODEV;

	if (access->handle >= SS_MAX_HANDLES)
		return -EINVAL;
	mutex_lock(&session->devices);
	worker = session->worker[access->handle];
	mutex_unlock(&session->devices);
	if (!worker)
		return ret;
	mutex_lock(&worker->jobs);
	ret = worker->closed ? -ENODEV : submit(worker, access);
	if (!ret) {
		dma_fence_wait(worker->fence, false);
		access->value = worker->value;
		ret = worker->missed ? -EFAULT : 0;
	}
	mutex_unlock(&worker->jobs);
	return ret;
}

static void close_worker(struct ss_worker *worker)
{
	mutex_lock(&worker->jobs);
	if (worker->closed)
		goto out;
	dma_resv_lock(worker->dmabuf->resv, NULL);
	give_back(worker);
	worker->closed = true;
	dma_resv_unlock(worker->dmabuf->resv);
	dma_buf_detach(worker->dmabuf, worker->attachment);
	cancel_work_sync(&worker->unmap);
	flush_work(&worker->job);
out:
	mutex_unlock(&worker->jobs);
}

/* Whether there is such a device. */
bool ss_worker_close(struct ss_session *session, unsigned long handle)
{
	struct ss_worker *worker;

	if (handle >= SS_MAX_HANDLES)
		return false;
	mutex_lock(&session->devices);
	worker = session->worker[handle];
	mutex_unlock(&session->devices);
	if (worker)
		close_worker(worker);
	return worker;
}

void ss_worker_free(struct ss_worker *worker)
{
	if (!worker)
		return;
	close_worker(worker);
	dma_fence_put(worker->fence);
	dma_buf_put(worker->dmabuf);
	kfree(worker);
}
