// SPDX-License-Identifier: GPL-2.0
/*
 * A small swap device in memory, so that pages can be swapped out in a machine without a disk.
 *
 * To the kernel it is like a disk: it does not say that it is synchronous (a RAM disk's pages are read beside the
 * swap cache, and are never clean in it), though each request is done when it is made.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "session.h"

#define SWAP_BYTES (SS_SWAP_PAGES * PAGE_SIZE)
#define DISK_BYTES (SWAP_BYTES + SS_SECTORS * SS_SECTOR)

static char *store;

static void submit(struct bio *bio)
{
	sector_t sector = bio->bi_iter.bi_sector;
	struct bvec_iter iter;
	struct bio_vec part;

	bio_for_each_segment(part, bio, iter) {
		char *there = store + (sector << SECTOR_SHIFT);
		char *here = bvec_kmap_local(&part);

		if (op_is_write(bio_op(bio)))
			memcpy(there, here, part.bv_len);
		else
			memcpy(here, there, part.bv_len);
		kunmap_local(here);
		sector += part.bv_len >> SECTOR_SHIFT;
	}
	bio_endio(bio);
}

static const struct block_device_operations operations = {
	.owner = THIS_MODULE,
	.submit_bio = submit,
};

int ss_swap_init(void)
{
	struct gendisk *disk;
	int major, i;

	store = vzalloc(DISK_BYTES);
	if (!store)
		return -ENOMEM;
	for (i = 0; i < SS_SECTORS; i++)
		store[SWAP_BYTES + i * SS_SECTOR] = i;
	major = register_blkdev(0, SS_SWAP_NAME);
	if (major < 0)
		return major;
	disk = ss_alloc_disk();
	if (IS_ERR_OR_NULL(disk))
		return -ENOMEM;
	disk->major = major;
	disk->minors = 1;
	disk->fops = &operations;
	disk->flags |= GENHD_FL_NO_PART;
	strscpy(disk->disk_name, SS_SWAP_NAME, sizeof(disk->disk_name));
	set_capacity(disk, DISK_BYTES >> SECTOR_SHIFT);
	return device_add_disk(NULL, disk, NULL);
}
