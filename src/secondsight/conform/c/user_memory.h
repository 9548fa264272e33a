/*
 * What hmm.c and gup.c have of a process's memory: PAGES pages from `base` on, the last levels of their page tables, and vmas in an array. The model owns it: each file's
 * ss_poke() writes it.
 */
#pragma once

#include "page_tables.h"

#define ADDRESS(page) (base + (unsigned long)(page) * PAGE_SIZE)

static struct mm_struct *mm;
static struct vm_area_struct *vma;
static unsigned long base;
static unsigned long *table[5]; /* pgd, pud, pmd, and two of entries */

static unsigned long *last_table(int page) { return table[3 + (int)pmd_index(ADDRESS(page)) - (int)pmd_index(base)]; }
static unsigned long *entry(int page) { return last_table(page) + pte_index(ADDRESS(page)); }

/* Link the tables on the way to a page, `levels` of them below the first. */
static void make_tables(int page, int levels)
{
	unsigned long address = ADDRESS(page);

	if (levels > 0)
		table[0][pgd_index(address)] = (unsigned long)table[1] | _KERNPG_TABLE | _PAGE_USER;
	if (levels > 1)
		table[1][pud_index(address)] = (unsigned long)table[2] | _KERNPG_TABLE | _PAGE_USER;
	if (levels > 2)
		table[2][pmd_index(address)] = (unsigned long)last_table(page) | _KERNPG_TABLE | _PAGE_USER;
}

static struct vm_area_struct *next_vma(unsigned long address)
{
	int i;

	for (i = 0; i < PAGES; i++)
		if (vma[i].vm_end > address)
			return &vma[i];
	return NULL;
}

struct vm_area_struct *find_vma(struct mm_struct *of, unsigned long address)
{
	ss_stop("find_vma", SS_FROM, 0, 0);
	return next_vma(address);
}
