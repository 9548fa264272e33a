// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory that has a file (device-dax), as a device of ours reaches it: through a mapping of its own, which stays when the memory has been
 * taken away and the kernel's has gone. So a wrong driver's late access reads what was there, and does no harm.
 */
#include <linux/io.h>
#include <linux/mm.h>

#include "session.h"

static void *memory;

void ss_dax_init(void)
{
	if (ss_dax_start)
		memory = memremap(ss_dax_start, SS_DAX_BYTES, MEMREMAP_WB);
}

/* Where a page of that memory is; NULL: it is another's. Of the page its number is looked at alone. */
unsigned char *ss_in_dax(struct page *page)
{
	unsigned long at = page_to_pfn(page) << PAGE_SHIFT;

	if (!memory || at < ss_dax_start || at >= ss_dax_start + SS_DAX_BYTES)
		return NULL;
	return (unsigned char *)memory + (at - ss_dax_start);
}
