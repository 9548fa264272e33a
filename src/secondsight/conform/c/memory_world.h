/* The world in which mm/memory.c is compared: two processes with their page tables, the file, and frames, out of a configuration's numbers. Included by memory.c. */

enum { ENTRY_NONE, ENTRY_READ, ENTRY_SHARED, ENTRY_WRITE, ENTRY_WRITTEN, ENTRY_ZERO, ENTRY_CACHE_READ, ENTRY_CACHE_WRITE, ENTRY_CACHE_WRITTEN, ENTRY_SWAPPED, ENTRY_MOVED, ENTRY_PRIVATE, ENTRY_TAKEN, ENTRY_PINNED, ENTRY_PINNED_WRITE, ENTRY_TAKEN_LOCKED, ENTRY_SWAPPED_ALONE, ENTRY_CACHED, ENTRY_CACHED_LOCKED };

static int is_present(long what)
{
	return what && what != ENTRY_SWAPPED && what < ENTRY_TAKEN_LOCKED && (what < ENTRY_MOVED || what > ENTRY_TAKEN);
}
static int is_own(long what) { return what && what != ENTRY_ZERO && (what < ENTRY_CACHE_READ || what > ENTRY_CACHE_WRITTEN); }

/* A frame that the world begins with, and a reference to it. */
static struct page *begins_with(int frame)
{
	set_page_count(page_of(frame), 1);
	number_of[frame] = contents[frame] = frame;
	return page_of(frame);
}

static void make_entry(int i, long kind, long what)
{
	pteval_t bits = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED;
	struct page *page;

	if (what == ENTRY_NONE)
		return;
	if (what == ENTRY_WRITE || what == ENTRY_WRITTEN || what == ENTRY_CACHE_WRITE || what == ENTRY_CACHE_WRITTEN || what == ENTRY_PINNED_WRITE)
		bits |= _PAGE_RW;
	if (what == ENTRY_WRITTEN || what == ENTRY_CACHE_WRITTEN)
		bits |= _PAGE_DIRTY;
	if (what == ENTRY_SWAPPED || what >= ENTRY_SWAPPED_ALONE) {
		pte_t is = swp_entry_to_pte(swp_entry(0, (pgoff_t)i + 1));

		slot[i] = what == ENTRY_SWAPPED ? 2 : 1; /* somebody else's, too */
		*entry(i) = what == ENTRY_SWAPPED ? is.pte : pte_swp_mkexclusive(is).pte;
		if (what < ENTRY_CACHED)
			return;
		page = begins_with(1 + i);
		page->mapping = (void *)((unsigned long)mapping | PAGE_MAPPING_ANON);
		add_to_swap_cache_at(page_folio(page), (pgoff_t)i);
		dirty[frame_of(page)] = 1;
		if (what == ENTRY_CACHED_LOCKED)
			__set_bit(PG_locked, (unsigned long *)&page->flags);
		return;
	}
	if (what == ENTRY_ZERO) {
		*entry(i) = first_pfn << PAGE_SHIFT | bits | _PAGE_SPECIAL;
		return;
	}
	if (what >= ENTRY_CACHE_READ && what <= ENTRY_CACHE_WRITTEN) {
		page = cache[i];
		page_ref_inc(page);
	} else {
		page = begins_with(1 + i);
		page->mapping = (void *)((unsigned long)mapping | PAGE_MAPPING_ANON);
		if (what == ENTRY_SHARED)
			page_ref_inc(page); /* somebody else's */
		else
			SetPageAnonExclusive(page);
		if (what == ENTRY_PINNED || what == ENTRY_PINNED_WRITE)
			page_ref_add(page, GUP_PIN_COUNTING_BIAS);
	}
	if (!is_present(what)) {
		unsigned long pfn = first_pfn + (unsigned long)frame_of(page);
		int writable = kind == VMA_WRITE || kind == VMA_PRIVATE_WRITE;
		swp_entry_t is = what == ENTRY_MOVED ? writable ? make_writable_migration_entry(pfn) : make_readable_exclusive_migration_entry(pfn) :
			what == ENTRY_PRIVATE ? writable ? make_writable_device_private_entry(pfn) : make_readable_device_private_entry(pfn) :
			writable ? make_writable_device_exclusive_entry(pfn) : make_readable_device_exclusive_entry(pfn);

		*entry(i) = swp_entry_to_pte(is).pte;
		if (what == ENTRY_MOVED || what == ENTRY_TAKEN_LOCKED)
			__set_bit(PG_locked, (unsigned long *)&page->flags);
		if (what == ENTRY_TAKEN || what == ENTRY_TAKEN_LOCKED) {
			SetPageDirty(page); /* by the FOLL_WRITE of who made it exclusive */
			dirty[frame_of(page)] = 1;
		}
		if (what == ENTRY_MOVED || (what != ENTRY_PRIVATE && !EXCLUSIVE_IS_MAPPED))
			return;
	}
	atomic_inc(&page->_mapcount);
	if (what == ENTRY_PRIVATE)
		give_to_device(page);
	if (!is_present(what))
		return;
	*entry(i) = (first_pfn + (unsigned long)frame_of(page)) << PAGE_SHIFT | bits;
}

/* A second process with the same vmas and nothing in its page tables; its memory is a copy when it has been forked. */
static void make_child(char *memory)
{
	unsigned long *parent[5];
	int i;

	memcpy(parent, table, sizeof(table));
	for (i = 0; i < 5; i++)
		table[i] = (unsigned long *)(memory + (5 + i) * PAGE_SIZE);
	for (i = 0; i < PAGES; i++)
		make_tables(i, 3);
	memcpy(child_table, table, sizeof(table));
	memcpy(table, parent, sizeof(table));
	child = ss_alloc(sizeof(*child));
	child->pgd = (pgd_t *)child_table[0];
	child->notifier_subscriptions = (void *)child;
	child->mmlist.next = &mm->mmlist; /* swapoff knows it */
	HAS_PINNED(mm);
	HAS_PINNED(child);
	for (i = 0; i < PAGES; i++)
		if (vma[i].vm_end) {
			memcpy(&vma[PAGES + i], &vma[i], sizeof(*vma));
			vma[PAGES + i].vm_mm = child;
		}
}

/* Configuration: of each page the kind of its vma and its entry; then a bit for each page that the file has; then whether there is a second process. Frame 1 + i is page
 * i's own, 1 + PAGES + i the file's. */
void ss_setup(const long *arguments)
{
	char *memory = (char *)ALIGN((unsigned long)ss_alloc(TABLES * PAGE_SIZE + PAGE_SIZE), PAGE_SIZE);
	static const unsigned long flags[] = {
		0, VM_READ | VM_MAYREAD | VM_MAYWRITE, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE,
		VM_READ | VM_SHARED | VM_MAYSHARE | VM_MAYREAD | VM_MAYWRITE, VM_READ | VM_WRITE | VM_SHARED | VM_MAYSHARE | VM_MAYREAD | VM_MAYWRITE,
		VM_READ | VM_MAYREAD | VM_MAYWRITE, VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE,
	};
	int i, count = 0;

	make_devices();
	entries_are_numbers();
	pv_ops.mmu.set_pte = plain_set_pte;
	LAZY_MODE(does_nothing);
	base = 2 * PMD_SIZE;
	pages = ss_alloc((TABLES + ALL) * sizeof(*pages));
	first_pfn = ((unsigned long)memory >> PAGE_SHIFT) + TABLES;
	vmemmap_base = (unsigned long)pages - (first_pfn - TABLES) * sizeof(*pages);
	ZERO_PFN_VARIABLE = first_pfn;
	highest_memmap_pfn = ~0UL;
	mm = ss_alloc(sizeof(*mm));
	vma = ss_alloc(2 * PAGES * sizeof(*vma));
	mapping = ss_alloc(sizeof(*mapping));
	mapping->host = ss_alloc(sizeof(struct inode));
	mapping->host->i_size = PAGES * PAGE_SIZE;
	file = ss_alloc(sizeof(*file));
	file->f_mapping = mapping;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	atomic_long_set(&file->f_count, 1);
#else
	file_ref_init(&file->f_ref, 1);
#endif
	mapping->i_mmap.rb_root.rb_node = (void *)mapping; /* it is not empty */
	mm->notifier_subscriptions = (void *)mm;
	for (i = 0; i < 5; i++)
		table[i] = (unsigned long *)(memory + i * PAGE_SIZE);
	mm->pgd = (pgd_t *)table[0];
	for (i = 0; i < ALL; i++)
		atomic_set(&page_of(i)->_mapcount, -1);
	set_page_count(page_of(0), 1);
	for (i = 0; i < PAGES; i++) {
		make_tables(i, 3);
		if (!(arguments[2 * PAGES] >> i & 1))
			continue;
		cache[i] = begins_with(1 + PAGES + i);
		cache[i]->mapping = mapping;
	}
	for (i = 0; i < PAGES; i++) {
		long what = arguments[2 * i];

		if (what && (!i || what != arguments[2 * i - 2])) {
			struct vm_area_struct *of = &vma[count++];

			of->vm_mm = mm;
			of->vm_start = ADDRESS(i);
			of->vm_pgoff = (unsigned long)i;
			*(unsigned long *)&of->vm_flags = flags[what] | VM_SOFTDIRTY; /* as every mapping until somebody clears it */
			of->vm_ops = what < VMA_FILE_READ ? NULL : &of_file;
			of->vm_file = what < VMA_FILE_READ ? NULL : file;
			of->vm_page_prot = what == VMA_FILE_WRITE ? PAGE_SHARED : PAGE_READONLY;
		}
		if (what)
			vma[count - 1].vm_end = ADDRESS(i + 1);
		make_entry(i, what, arguments[2 * i + 1]);
		if (is_own(arguments[2 * i + 1]))
			vma[count - 1].anon_vma = (void *)mapping;
	}
	if (arguments[2 * PAGES + 1])
		make_child(memory);
}
