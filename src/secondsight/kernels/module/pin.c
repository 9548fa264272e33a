// SPDX-License-Identifier: GPL-2.0
/*
 * A device that pins pages: what it reads and writes is what was at the address when it was pinned.
 */
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#include "session.h"

struct ss_pinned {
	struct mm_struct *mm;
	u32 pages;
	bool write;
	struct page *page[SS_WINDOW_PAGES];
};

static long pin_pages(const struct ss_pin *pin, unsigned long addr, u32 pages, unsigned int flags, struct page **into)
{
	long ret;

	if (!pin->locked)
		return pin_user_pages_fast(addr, pages, flags, into);
	mmap_read_lock(current->mm);
	ret = ss_pin_user_pages(addr, pages, flags, into);
	mmap_read_unlock(current->mm);
	return ret;
}

long ss_pin(struct ss_session *session, const struct ss_pin *pin)
{
	unsigned int flags = (pin->write ? FOLL_WRITE : 0) | (pin->longterm ? FOLL_LONGTERM : 0);
	struct ss_pinned *pinned;
	long ret = 0;
	u32 i;

	if (pin->page_shift != PAGE_SHIFT && pin->page_shift != SS_HUGE_SHIFT)
		return -EINVAL;
	if (pin->handle >= SS_MAX_HANDLES || !pin->pages || pin->pages > SS_WINDOW_PAGES)
		return -EINVAL;
	pinned = kzalloc(sizeof(*pinned), GFP_KERNEL);
	if (!pinned)
		return -ENOMEM;
	if (pin->page_shift == PAGE_SHIFT) {
		ret = pin_pages(pin, pin->addr, pin->pages, flags, pinned->page);
	} else { /* one page of each */
		for (i = 0; i < pin->pages; i++) {
			ret = pin_pages(pin, pin->addr + ((unsigned long)i << pin->page_shift), 1, flags, &pinned->page[i]);
			if (ret != 1)
				break;
			ret = i + 1;
		}
		if (ret < 0 && i) {
			unpin_user_pages(pinned->page, i);
			goto fail;
		}
	}
	if (ret > 0 && ret < pin->pages) {
		unpin_user_pages(pinned->page, ret);
		ret = -EFAULT;
	}
	if (ret < 0)
		goto fail;
	pinned->pages = pin->pages;
	pinned->write = pin->write;
	mutex_lock(&session->devices);
	ret = session->pinned[pin->handle] ? -EINVAL : 0;
	if (!ret)
		session->pinned[pin->handle] = pinned;
	mutex_unlock(&session->devices);
	if (!ret)
		return 0;
	unpin_user_pages(pinned->page, pinned->pages);
fail:
	kfree(pinned);
	return ret;
}

long ss_pin_access(struct ss_session *session, struct ss_access *access)
{
	struct ss_pinned *pinned;
	struct page *page;
	long ret = -EBADF;

	if (access->handle >= SS_MAX_HANDLES)
		return -EINVAL;
	ss_hold(session, SS_POINT_ACCESSING);
	mutex_lock(&session->devices);
	pinned = session->pinned[access->handle];
	if (!pinned)
		goto out;
	ret = -EINVAL;
	if (access->addr >= pinned->pages)
		goto out;
	ret = 0;
	page = pinned->page[access->addr];
	if (!access->write)
		access->value = access->half ? ss_half_load(page) : ss_page_load(page);
	else if (!pinned->write)
		ret = -EPERM;
	else
		ret = ss_pinned_store(page, access->value, access->half);
out:
	mutex_unlock(&session->devices);
	return ret;
}

void ss_pinned_free(struct ss_pinned *pinned)
{
	if (!pinned)
		return;
	if (pinned->write)
		unpin_user_pages_dirty_lock(pinned->page, pinned->pages, true);
	else
		unpin_user_pages(pinned->page, pinned->pages);
	kfree(pinned);
}

long ss_unpin(struct ss_session *session, unsigned long handle)
{
	struct ss_pinned *pinned;

	if (handle >= SS_MAX_HANDLES)
		return -EINVAL;
	mutex_lock(&session->devices);
	pinned = session->pinned[handle];
	session->pinned[handle] = NULL;
	mutex_unlock(&session->devices);
	if (!pinned)
		return -EBADF;
	ss_pinned_free(pinned);
	return 0;
}
