// SPDX-License-Identifier: GPL-2.0
/*
 * A page's value: its first byte; that of its second half: the first byte of that. Nothing else of it is ever written.
 */
#include <linux/highmem.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "session.h"

#define HALF (PAGE_SIZE / 2)

/* The value of the page that is mapped at @at. */
u32 ss_value_at(const unsigned char *at)
{
	u32 value = READ_ONCE(*at);

	return memchr_inv(at + 8, 0, HALF - 8) || memchr_inv(at + HALF + 8, 0, HALF - 8) ? SS_TORN : value;
}

u32 ss_page_load(struct page *page)
{
	unsigned char *at = ss_in_dax(page);
	u32 value;

	if (at)
		return ss_value_at(at);
	at = kmap_local_page(ss_behind(page));
	value = ss_value_at(at);
	kunmap_local(at);
	return value;
}

u32 ss_half_load(struct page *page)
{
	unsigned char *at = ss_in_dax(page);
	u32 value;

	if (at)
		return READ_ONCE(at[HALF]);
	at = kmap_local_page(ss_behind(page));
	value = READ_ONCE(at[HALF]);
	kunmap_local(at);
	return value;
}

/* A page of the page cache of a file on a disk; of other file systems there are the guest's programs. */
static bool is_on_a_disk(struct folio *folio)
{
	struct address_space *mapping = folio_mapping(folio);

	return mapping && mapping->host && mapping->host->i_sb->s_magic == EXT4_SUPER_MAGIC;
}

/*
 * Only memory of a process is written to, and files' pages: what is pinned is one of these, or was when it was pinned. A stale entry of a wrong driver may name anything, and the
 * shared zero page with a letter in it is in every later run.
 */
static int store(struct page *page, unsigned int offset, u32 value, bool pinned)
{
	struct folio *folio = page_folio(page);
	unsigned char *at = ss_in_dax(page);

	if (at) {
		WRITE_ONCE(at[offset], value);
		return 0;
	}
	if (page != ss_behind(page))
		page = ss_behind(page);
	else if (is_zero_pfn(page_to_pfn(page)) || !(pinned || folio_test_anon(folio) || folio_test_swapbacked(folio) || folio_test_hugetlb(folio) || is_zone_device_page(page) || is_on_a_disk(folio)))
		return -EPERM;
	at = kmap_local_page(page);
	WRITE_ONCE(at[offset], value);
	kunmap_local(at);
	return 0;
}

int ss_page_store(struct page *page, u32 value, bool half) { return store(page, half ? HALF : 0, value, false); }

int ss_pinned_store(struct page *page, u32 value, bool half) { return store(page, half ? HALF : 0, value, true); }
