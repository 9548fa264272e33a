// SPDX-License-Identifier: GPL-2.0
/*
 * The device's table beside the CPU's, looked at without waiting for anybody.
 */
#include "mirror.h"

/*
 * Whether the CPU's table has a page at @addr, and which frame; interrupts are off, so that no table goes away, as for
 * get_user_pages_fast(). Nobody is waited for.
 */
static bool cpu_pfn(struct mm_struct *mm, unsigned long addr, unsigned long *pfn)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;
	pte_t pte;

	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return false;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return false;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud) || pud_bad(*pud))
		return false;
	pmd = pmd_offset(pud, addr);
	if (pmd_present(*pmd) && pmd_leaf(*pmd)) { /* a huge page */
		*pfn = pmd_pfn(*pmd) + ((addr & ~PMD_MASK) >> PAGE_SHIFT);
		return true;
	}
	if (pmd_none(*pmd) || pmd_bad(*pmd))
		return false;
	pte = READ_ONCE(*pte_offset_kernel(pmd, addr));
	*pfn = pte_pfn(pte);
	return pte_present(pte);
}

/* What a frame is to the CPU's table at @addr: the frame there, another, or @if_none when there is none. */
u32 ss_against_cpu(struct ss_mirror *mirror, unsigned long addr, unsigned long pfn, u32 if_none)
{
	unsigned long flags, now = 0;
	bool there;

	local_irq_save(flags);
	there = cpu_pfn(mirror->mm, addr, &now);
	local_irq_restore(flags);
	if (!there)
		return if_none;
	return now == pfn ? SS_PROBE_SAME : SS_PROBE_OTHER;
}

/* What the device's table has at an address. For when nothing else goes on. */
long ss_mirror_probe(struct ss_session *session, struct ss_probe *probe)
{
	struct ss_mirror *mirror = ss_mirror_of(session, probe->handle);
	struct ss_entry *entry = mirror ? ss_entry_of(mirror, probe->addr) : NULL;

	if (!entry)
		return -EINVAL;
	spin_lock(&mirror->hardware);
	probe->found = SS_PROBE_NONE;
	if (entry->present)
		probe->found = ss_against_cpu(mirror, probe->addr, entry->pfn, SS_PROBE_OTHER);
	if (entry->present && entry->writable)
		probe->found |= SS_PROBE_WRITABLE;
	spin_unlock(&mirror->hardware);
	return 0;
}
