// SPDX-License-Identifier: GPL-2.0
/*
 * A page's value: its first byte. Nothing else of it is ever written.
 */
#include <linux/highmem.h>
#include <linux/mm.h>

#include "session.h"

u32 ss_page_load(struct page *page)
{
	unsigned char *at = kmap_local_page(ss_behind(page));
	u32 value = READ_ONCE(*at);

	if (memchr_inv(at + 8, 0, PAGE_SIZE - 8))
		value = SS_TORN;
	kunmap_local(at);
	return value;
}

/*
 * Only memory of a process is written to. A stale entry of a wrong driver may name anything, and the
 * shared zero page with a letter in it is in every later run.
 */
int ss_page_store(struct page *page, u32 value)
{
	struct folio *folio = page_folio(page);
	unsigned char *at;

	if (page != ss_behind(page))
		page = ss_behind(page);
	else if (is_zero_pfn(page_to_pfn(page)) || !(folio_test_anon(folio) || folio_test_swapbacked(folio)))
		return -EPERM;
	at = kmap_local_page(page);
	WRITE_ONCE(*at, value);
	kunmap_local(at);
	return 0;
}
