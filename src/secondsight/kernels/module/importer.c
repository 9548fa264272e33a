// SPDX-License-Identifier: GPL-2.0
/*
 * A device that imports a dma-buf: it attaches, maps, and reads the pages that it was given.
 */
#include <linux/dma-buf.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "compat.h"
#include "session.h"

struct ss_importer {
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attachment;
	struct sg_table *table; /* NULL: not mapped */
};

long ss_attach(struct ss_session *session, const struct ss_attach *attach, struct device *device)
{
	struct ss_importer *importer;
	long ret;

	if (attach->handle >= SS_MAX_HANDLES)
		return -EINVAL;
	importer = kzalloc(sizeof(*importer), GFP_KERNEL);
	if (!importer)
		return -ENOMEM;
	importer->dmabuf = dma_buf_get(attach->fd);
	if (IS_ERR(importer->dmabuf)) {
		ret = PTR_ERR(importer->dmabuf);
		goto free;
	}
	importer->attachment = dma_buf_attach(importer->dmabuf, device);
	if (IS_ERR(importer->attachment)) {
		ret = PTR_ERR(importer->attachment);
		goto put;
	}
	mutex_lock(&session->devices);
	ret = session->importer[attach->handle] ? -EINVAL : 0;
	if (!ret)
		session->importer[attach->handle] = importer;
	mutex_unlock(&session->devices);
	if (!ret)
		return 0;
	dma_buf_detach(importer->dmabuf, importer->attachment);
put:
	dma_buf_put(importer->dmabuf);
free:
	kfree(importer);
	return ret;
}

static long map(struct ss_importer *importer)
{
	struct sg_table *table;

	if (importer->table)
		return -EBUSY;
	table = dma_buf_map_attachment_unlocked(importer->attachment, DMA_BIDIRECTIONAL);
	if (IS_ERR(table))
		return PTR_ERR(table);
	importer->table = table;
	return 0;
}

static long unmap(struct ss_importer *importer)
{
	if (!importer->table)
		return -EINVAL;
	dma_buf_unmap_attachment_unlocked(importer->attachment, importer->table, DMA_BIDIRECTIONAL);
	importer->table = NULL;
	return 0;
}

static long change(struct ss_session *session, unsigned long handle, long (*how)(struct ss_importer *importer))
{
	long ret = -EBADF;

	if (handle >= SS_MAX_HANDLES)
		return -EINVAL;
	mutex_lock(&session->devices);
	if (session->importer[handle])
		ret = how(session->importer[handle]);
	mutex_unlock(&session->devices);
	return ret;
}

long ss_map(struct ss_session *session, unsigned long handle)
{
	return change(session, handle, map);
}

long ss_unmap(struct ss_session *session, unsigned long handle)
{
	return change(session, handle, unmap);
}

static long load(struct ss_importer *importer, struct ss_access *access)
{
	struct sg_page_iter at;
	u64 page = 0;

	if (!importer->table)
		return -EFAULT;
	for_each_sgtable_page(importer->table, &at, 0) {
		if (page++ != access->addr)
			continue;
		access->value = ss_page_load(sg_page_iter_page(&at));
		return 0;
	}
	return -EINVAL;
}

/* A page through the mapping: -EFAULT while there is none. */
long ss_importer_read(struct ss_session *session, struct ss_access *access)
{
	long ret = -EBADF;

	if (access->handle >= SS_MAX_HANDLES)
		return -EINVAL;
	ss_hold(session, SS_POINT_ACCESSING);
	mutex_lock(&session->devices);
	if (session->importer[access->handle])
		ret = load(session->importer[access->handle], access);
	mutex_unlock(&session->devices);
	return ret;
}

/* A page of a dma-buf, as a driver's own CPU accesses see it. */
long ss_vmap_read(struct ss_access *access)
{
	struct dma_buf *dmabuf = dma_buf_get(access->handle);
	struct iosys_map map;
	long ret;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	ret = access->addr < dmabuf->size >> PAGE_SHIFT ? dma_buf_vmap_unlocked(dmabuf, &map) : -EINVAL;
	if (!ret) {
		access->value = ss_value_at((unsigned char *)map.vaddr + access->addr * PAGE_SIZE);
		dma_buf_vunmap_unlocked(dmabuf, &map);
	}
	dma_buf_put(dmabuf);
	return ret;
}

void ss_importer_free(struct ss_importer *importer)
{
	if (!importer)
		return;
	unmap(importer);
	dma_buf_detach(importer->dmabuf, importer->attachment);
	dma_buf_put(importer->dmabuf);
	kfree(importer);
}

long ss_detach(struct ss_session *session, unsigned long handle)
{
	struct ss_importer *importer;

	if (handle >= SS_MAX_HANDLES)
		return -EINVAL;
	mutex_lock(&session->devices);
	importer = session->importer[handle];
	session->importer[handle] = NULL;
	mutex_unlock(&session->devices);
	if (!importer)
		return -EBADF;
	ss_importer_free(importer);
	return 0;
}
