/*
 * mm/memfd.c as it is, with one memfd, who maps and pins its pages, and a look at its state. See conform/targets/memfd.py,
 * which has the same world in the model: the numbers of operations and the form of the look are those there.
 */
#include SS_KERNEL_FILE

#include <linux/version.h>
#include <linux/xarray.h>

#include "conform.h"

#define PAGES 3

static struct shmem_inode_info *info;
static struct inode *inode;
static struct file *file;
static struct page *page;
static int present[PAGES], mapped[PAGES], writable[PAGES], pinned[PAGES];

/* What other files of the kernel's do. */

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
const struct address_space_operations shmem_aops;
const struct file_operations hugetlbfs_file_operations;
#elif LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
bool shmem_mapping(struct address_space *of) { return true; }
#else
bool shmem_mapping(const struct address_space *of) { return true; }
#endif

void lru_add_drain(void) { }

/* Between two looks at the pages others go on: waiting for all CPUs before the first, time passes before the rest. */
void lru_add_drain_all(void) { ss_stop("pins", SS_FROM, 0, 0); }
signed long schedule_timeout_killable(signed long timeout)
{
	ss_stop("pins", SS_FROM, 0, 0);
	return 0;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
int folio_mapcount(struct folio *folio) { return atomic_read(&folio->page._mapcount) + 1; }
int PageHuge(struct page *of) { return 0; }
#endif

unsigned long _find_next_bit(const unsigned long *addr, unsigned long nbits, unsigned long start)
{
	while (start < nbits && !test_bit(start, addr))
		start++;
	return start;
}

/* memfd_create(), hugetlb memfds, and what of the tree is for other users. */
SS_NEVER(__bitmap_clear);
SS_NEVER(_raw_spin_lock_bh);
SS_NEVER(_raw_spin_unlock_bh);
SS_NEVER(__check_object_size);
SS_NEVER(__folio_put);
SS_NEVER(__kmalloc_noprof);
SS_NEVER(___ratelimit);
SS_NEVER(_copy_from_user);
SS_NEVER(alloc_hugetlb_folio_reserve);
SS_NEVER(call_rcu);
SS_NEVER(fd_install);
SS_NEVER(folio_unlock);
SS_NEVER(folio_zero_user);
SS_NEVER(fput);
SS_NEVER(get_unused_fd_flags);
SS_NEVER(hugetlb_add_to_page_cache);
SS_NEVER(hugetlb_fault_mutex_hash);
SS_NEVER(hugetlb_file_setup);
SS_NEVER(hugetlb_reserve_pages);
SS_NEVER(hugetlb_unreserve_pages);
SS_NEVER(is_file_shm_hugepages);
SS_NEVER(put_unused_fd);
SS_NEVER(radix_tree_node_rcu_free);
SS_NEVER(security_inode_init_security_anon);
SS_NEVER(shmem_file_setup);
SS_NEVER(shmem_read_folio_gfp);
SS_NEVER(strncpy_from_user);
SS_NEVER(strnlen_user);
SS_NEVER(task_active_pid_ns);
SS_NEVER_DATA(enter_syscall_print_funcs);
SS_NEVER_DATA(event_class_syscall_enter);
SS_NEVER_DATA(event_class_syscall_exit);
SS_NEVER_DATA(exit_syscall_print_funcs);
SS_NEVER_DATA(hugetlb_fault_mutex_table);
SS_NEVER_DATA(hugetlb_optimize_vmemmap_key);
SS_NEVER_DATA(numa_node);

/* Nodes of the page cache's tree. */

struct kmem_cache *radix_tree_node_cachep;

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
void *kmem_cache_alloc_lru_noprof(struct kmem_cache *cache, struct list_lru *lru, gfp_t flags)
#else
void *kmem_cache_alloc_lru(struct kmem_cache *cache, struct list_lru *lru, gfp_t flags)
#endif
{
	struct xa_node *node = ss_alloc(sizeof(*node));

	INIT_LIST_HEAD(&node->private_list);
	return node;
}

/* Operations; their numbers are those of `Op` in conform/targets/memfd.py. */

enum { OP_SEAL, OP_PIN, OP_UNPIN, OP_MAP, OP_UNMAP, OP_MAP_WRITABLE, OP_UNMAP_WRITABLE };

static long map_writable(long at)
{
	long ret = 0;

	if (writable[at])
		return 1;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0)
	vm_flags_t flags = VM_SHARED | VM_MAYSHARE | VM_WRITE | VM_MAYWRITE;

	ret = memfd_check_seals_mmap(file, &flags);
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	unsigned long flags = VM_SHARED | VM_MAYSHARE | VM_WRITE | VM_MAYWRITE;

	ret = memfd_check_seals_mmap(file, &flags);
#endif
	if (!ret)
		ret = mapping_map_writable(file->f_mapping);
	if (!ret)
		writable[at] = 1;
	return ret;
}

long ss_operate(int operation, const long *at)
{
	struct folio *folio = page_folio(&page[at[0] % PAGES]);

	if (operation == OP_SEAL)
		return memfd_fcntl(file, F_ADD_SEALS, at[0]);
	ss_stop("page", 0, 0, 0);
	switch (operation) {
	case OP_PIN:
		if (!present[at[0]])
			return 1;
		folio_get(folio);
		pinned[at[0]]++;
		return 0;
	case OP_UNPIN:
		if (!pinned[at[0]])
			return 1;
		pinned[at[0]]--;
		folio_ref_dec(folio);
		return 0;
	case OP_MAP:
		if (mapped[at[0]] || !present[at[0]])
			return 1;
		mapped[at[0]] = 1;
		folio_get(folio);
		atomic_inc(&folio->page._mapcount);
		return 0;
	case OP_UNMAP:
		if (!mapped[at[0]])
			return 1;
		mapped[at[0]] = 0;
		atomic_dec(&folio->page._mapcount);
		folio_ref_dec(folio);
		return 0;
	case OP_MAP_WRITABLE:
		return map_writable(at[0]);
	case OP_UNMAP_WRITABLE:
		if (!writable[at[0]])
			return 1;
		writable[at[0]] = 0;
		mapping_unmap_writable(file->f_mapping);
		return 0;
	}
	return -1;
}

/* The world. Arguments: one for the model alone; the seals, and of each page whether it is there, how often it is pinned, whether it is mapped,
 * and whether the place that maps it may write. */

void ss_setup(const long *at)
{
	int i;

	info = ss_alloc(sizeof(*info));
	inode = &info->vfs_inode;
	inode->i_mapping = &inode->i_data;
	inode->i_data.host = inode;
	inode->i_mode = S_IFREG;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	inode->i_data.a_ops = &shmem_aops;
#endif
	xa_init_flags(&inode->i_data.i_pages, XA_FLAGS_LOCK_IRQ | XA_FLAGS_ACCOUNT);
	file = ss_alloc(sizeof(*file));
	file->f_inode = inode;
	file->f_mapping = inode->i_mapping;
	file->f_mode = FMODE_READ | FMODE_WRITE;
	page = ss_alloc(PAGES * sizeof(*page));
	info->seals = at[1];
	if (info->seals & F_SEAL_WRITE)
		atomic_set(&inode->i_data.i_mmap_writable, -1);
	at += 2;
	for (i = 0; i < PAGES; i++, at += 4) {
		long pins = at[1], which = i;

		atomic_set(&page[i]._mapcount, -1);
		present[i] = at[0];
		mapped[i] = writable[i] = pinned[i] = 0;
		if (!at[0])
			continue;
		set_page_count(&page[i], 1);
		page[i].mapping = file->f_mapping;
		xa_store_irq(&inode->i_data.i_pages, i, &page[i], GFP_KERNEL);
		while (pins--)
			ss_operate(OP_PIN, &which);
		if (at[2])
			ss_operate(OP_MAP, &which);
		if (at[3])
			ss_operate(OP_MAP_WRITABLE, &which);
	}
}

void ss_poke(int what, const long *arguments) { }

/* The look. */

void ss_look(void)
{
	int i;

	ss_text("inode=");
	ss_number(*(long *)&inode->i_rwsem.count);
	ss_text(" seals=");
	ss_number(memfd_fcntl(file, F_GET_SEALS, 0));
	ss_text(" writable=");
	ss_number(atomic_read(&file->f_mapping->i_mmap_writable));
	for (i = 0; i < PAGES; i++) {
		ss_text(" page=");
		ss_number(present[i] ? page_count(&page[i]) : 0);
		ss_text(":");
		ss_number(atomic_read(&page[i]._mapcount) + 1);
		ss_text(":");
		ss_number(writable[i]);
	}
}
