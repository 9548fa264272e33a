/*
 * fs/userfaultfd.c as it is, with who touches memory that is registered, who changes it, and who reads the messages and
 * answers them; and a look at its state. See conform/targets/userfaultfd.py, which has the same world in the model.
 */
#include SS_KERNEL_FILE

#include <asm/paravirt.h>

#include "conform.h"

#define PAGES 4
#define FIRST_PFN 0x1000UL
#define BASE PMD_SIZE
#define ADDRESS(page) (BASE + (unsigned long)(page) * PAGE_SIZE)
#define PAGE(address) ((long)(((unsigned long)(address) - BASE) >> PAGE_SHIFT))

static struct mm_struct *mm;
static struct vm_area_struct *vma;
static struct userfaultfd_ctx *ctx;
static unsigned long *table[4];

/* Page tables: no encryption, four levels, and memory that is mapped where it is. */

struct paravirt_patch_template pv_ops;
struct cpuinfo_x86 boot_cpu_data;
unsigned long page_offset_base, vmemmap_base, phys_base;
unsigned int pgdir_shift = 39, ptrs_per_p4d = 1;
phys_addr_t physical_mask = (1ULL << 52) - 1;
u64 sme_me_mask;

u64 ss_identity(u64 value);
asm(".text\n.type ss_identity, @function\nss_identity:\n\tmov %rdi, %rax\n\tret\n.size ss_identity, . - ss_identity");

/* What the file calls on ways that lead nowhere here. */
SS_NEVER(BUG_func);
SS_NEVER(__kmem_cache_create_args);
SS_NEVER(__put_user_8);
SS_NEVER(__register_sysctl_init);
SS_NEVER(__task_pid_nr_ns);
SS_NEVER(_copy_from_user);
SS_NEVER(_copy_to_iter);
SS_NEVER(_copy_to_user);
SS_NEVER(anon_inode_create_getfd);
SS_NEVER(anon_inode_create_getfile);
SS_NEVER(capable);
SS_NEVER(compat_ptr_ioctl);
SS_NEVER(fd_install);
SS_NEVER(get_unused_fd_flags);
SS_NEVER(huge_pte_offset);
SS_NEVER(hugetlb_vma_lock_read);
SS_NEVER(hugetlb_vma_unlock_read);
SS_NEVER(iov_iter_revert);
SS_NEVER(kmem_cache_alloc_noprof);
SS_NEVER(kmem_cache_free);
SS_NEVER(mas_find);
SS_NEVER(mas_prev);
SS_NEVER(mfill_atomic_continue);
SS_NEVER(mfill_atomic_copy);
SS_NEVER(mfill_atomic_poison);
SS_NEVER(mfill_atomic_zeropage);
SS_NEVER(misc_register);
SS_NEVER(mmput);
SS_NEVER(move_pages);
SS_NEVER(mwriteprotect_range);
SS_NEVER(noop_llseek);
SS_NEVER(proc_dointvec_minmax);
SS_NEVER(put_unused_fd);
SS_NEVER(refcount_warn_saturate);
SS_NEVER(seq_printf);
SS_NEVER(userfaultfd_clear_vma);
SS_NEVER(userfaultfd_register_range);
SS_NEVER(userfaultfd_release_new);
SS_NEVER(userfaultfd_reset_ctx);
SS_NEVER(vma_is_shmem);
SS_NEVER(vma_kernel_pagesize);
SS_NEVER(vma_mmu_pagesize);
SS_NEVER_DATA(enter_syscall_print_funcs);
SS_NEVER_DATA(event_class_syscall_enter);
SS_NEVER_DATA(event_class_syscall_exit);
SS_NEVER_DATA(exit_syscall_print_funcs);
SS_NEVER_DATA(sysctl_vals);

/* Lists, as lib/list_debug.c checks them. */

bool __list_add_valid_or_report(struct list_head *new, struct list_head *prev, struct list_head *next)
{
	if (next->prev != prev || prev->next != next || new == prev || new == next)
		ss_die("an entry is added to a list that is broken, or is there already", SS_FROM);
	return true;
}

bool __list_del_entry_valid_or_report(struct list_head *entry)
{
	if (entry->prev->next != entry || entry->next->prev != entry)
		ss_die("an entry is taken out of a list that it is not in", SS_FROM);
	return true;
}

/* Between its coming into the queue and its look at the entry a fault may be answered. */
pte_t *__pte_offset_map(pmd_t *pmd, unsigned long address, pmd_t *pmdvalp)
{
	ss_stop("entry", SS_FROM, 0, 0);
	return pte_offset_kernel(pmd, address);
}

/*
 * Who waits. A thread sleeps until its state is that it runs; who wakes it finds it asleep or about to. Of those who wait for
 * the reading of a message, whoever is woken for another's does nothing but go back to sleep: it cannot go on here.
 */

static struct userfaultfd_wait_queue *event_of(struct task_struct *task)
{
	wait_queue_entry_t *one;

	list_for_each_entry(one, &ctx->event_wqh.head, entry)
		if (one->private == task)
			return container_of(one, struct userfaultfd_wait_queue, wq);
	return NULL;
}

static int may_go(void *task)
{
	struct task_struct *of = task;

	if (event_of(of))
		return ctx->released;
	return of->__state == TASK_RUNNING;
}

void schedule(void) { ss_stop("schedule", SS_FROM, may_go, current); }

int wake_up_state(struct task_struct *task, unsigned int state)
{
	if (!(task->__state & state))
		return 0;
	task->__state = TASK_RUNNING;
	return 1;
}

int default_wake_function(wait_queue_entry_t *one, unsigned mode, int flags, void *key) { return wake_up_state(one->private, mode); }

static void wake_common(struct wait_queue_head *queue, unsigned int mode, int nr, void *key)
{
	wait_queue_entry_t *one, *next;

	list_for_each_entry_safe(one, next, &queue->head, entry) {
		unsigned flags = one->flags;
		int ret = one->func(one, mode, 0, key);

		if (ret < 0 || (ret && (flags & WQ_FLAG_EXCLUSIVE) && !--nr))
			break;
	}
}

int __wake_up(struct wait_queue_head *queue, unsigned int mode, int nr, void *key)
{
	wake_common(queue, mode, nr, key);
	return 0;
}
void __wake_up_locked(struct wait_queue_head *queue, unsigned int mode, int nr) { wake_common(queue, mode, nr, NULL); }
void __wake_up_locked_key(struct wait_queue_head *queue, unsigned int mode, void *key) { wake_common(queue, mode, 1, key); }
void add_wait_queue(struct wait_queue_head *queue, struct wait_queue_entry *one) { __add_wait_queue(queue, one); }
void __init_waitqueue_head(struct wait_queue_head *queue, const char *name, struct lock_class_key *key) { INIT_LIST_HEAD(&queue->head); }

/* Given back, the lock of the events is a place too: nothing else is where an event is told after the end of a userfaultfd. */
void __lockfunc _raw_spin_unlock_irq(raw_spinlock_t *lock)
{
	atomic_set(&lock->raw_lock.val, 0);
	if (lock == &ctx->event_wqh.lock.rlock.raw_lock || (void *)lock == (void *)&ctx->event_wqh.lock)
		ss_stop("event_unlock", SS_FROM, may_go, current);
}

/* mm/userfaultfd.c. */
void userfaultfd_release_all(struct mm_struct *of, struct userfaultfd_ctx *gone)
{
	mmap_write_lock(of);
	vma->vm_userfaultfd_ctx.ctx = NULL;
	mmap_write_unlock(of);
}

/* Operations; their numbers are those of `Op` in conform/targets/userfaultfd.py. */

enum { OP_FAULT, OP_SET, OP_WAKE, OP_READ, OP_REMOVE, OP_UNMAP, OP_RELEASE };

static long do_fault(long page, long why, long may_retry)
{
	static const unsigned long reason[] = { VM_UFFD_MISSING, VM_UFFD_WP, VM_UFFD_MINOR };
	struct vm_fault vmf = {
		.vma = vma,
		.address = ADDRESS(page),
		.real_address = ADDRESS(page),
		.flags = (may_retry ? FAULT_FLAG_ALLOW_RETRY : 0) | FAULT_FLAG_KILLABLE | FAULT_FLAG_USER,
	};
	vm_fault_t ret = 0;

	mmap_read_lock(mm);
	ss_stop("registered", 0, 0, 0);
	if (vma->vm_userfaultfd_ctx.ctx) {
		ss_stop("fault", 0, 0, 0);
		ret = handle_userfault(&vmf, reason[why]);
	}
	if (!(ret & VM_FAULT_RETRY))
		mmap_read_unlock(mm);
	return ret & VM_FAULT_RETRY ? 1 : ret ? 2 : 0;
}

static void set_entry(long page, long value)
{
	unsigned long flags = _PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED;

	table[3][pte_index(ADDRESS(page))] = value ? (FIRST_PFN + page) << PAGE_SHIFT | flags | (value == 2 ? _PAGE_RW | _PAGE_DIRTY : _PAGE_UFFD_WP) : 0;
}

static long do_wake(long first, long end)
{
	struct userfaultfd_wake_range range = { .start = ADDRESS(first), .len = (end - first) * PAGE_SIZE };

	ss_stop("wake", 0, 0, 0);
	wake_userfault(ctx, &range);
	return 0;
}

/* A fault as a number: its page, and whether it is missing, write-protected, or only not mapped. */
static long number_of(struct uffd_msg *msg)
{
	u64 flags = msg->arg.pagefault.flags;

	return 100 + 3 * PAGE(msg->arg.pagefault.address) + (flags & UFFD_PAGEFAULT_FLAG_WP ? 1 : flags & UFFD_PAGEFAULT_FLAG_MINOR ? 2 : 0);
}

static long do_read(void)
{
	struct uffd_msg msg;
	ssize_t ret;

	ss_stop("read", 0, 0, 0);
	ret = userfaultfd_ctx_read(ctx, 1, &msg, NULL);
	if (ret)
		return ret;
	if (msg.event == UFFD_EVENT_PAGEFAULT)
		return number_of(&msg);
	return (msg.event == UFFD_EVENT_REMOVE ? 200 : msg.event == UFFD_EVENT_UNMAP ? 300 : 900) + 10 * PAGE(msg.arg.remove.start) +
	       PAGE(msg.arg.remove.end);
}

static long do_remove(long first, long end)
{
	long kept;

	mmap_read_lock(mm);
	ss_stop("remove", 0, 0, 0);
	kept = userfaultfd_remove(vma, ADDRESS(first), ADDRESS(end));
	if (kept)
		mmap_read_unlock(mm);
	return kept;
}

static long do_unmap(long first, long end)
{
	LIST_HEAD(uf);
	long told;

	mmap_write_lock(mm);
	ss_stop("unmap", 0, 0, 0);
	if (userfaultfd_unmap_prep(vma, ADDRESS(first), ADDRESS(end), &uf))
		return -1;
	if (userfaultfd_unmap_prep(vma, ADDRESS(first), ADDRESS(end), &uf)) /* a second vma of the range: told once */
		return -1;
	told = !list_empty(&uf);
	mmap_write_unlock(mm);
	userfaultfd_unmap_complete(mm, &uf);
	return told;
}

long ss_operate(int operation, const long *at)
{
	struct file file = { .private_data = ctx };

	switch (operation) {
	case OP_FAULT:
		return do_fault(at[0], at[1], at[2]);
	case OP_SET:
		ss_stop("set", 0, 0, 0);
		set_entry(at[0], at[1]);
		return 0;
	case OP_WAKE:
		return do_wake(at[0], at[1]);
	case OP_READ:
		return do_read();
	case OP_REMOVE:
		return do_remove(at[0], at[1]);
	case OP_UNMAP:
		return do_unmap(at[0], at[1]);
	case OP_RELEASE:
		ss_stop("release", 0, 0, 0);
		return userfaultfd_release(NULL, &file);
	}
	return -1;
}

/* The world. Arguments: whether a fault is a signal; whether changes are told; of each page whether it is there, and whether it may be written. */
void ss_setup(const long *at)
{
	struct paravirt_callee_save identity = { ss_identity };
	char *memory = (char *)ALIGN((unsigned long)ss_alloc(5 * PAGE_SIZE), PAGE_SIZE);
	int i;

	pv_ops.mmu.pte_val = pv_ops.mmu.make_pte = pv_ops.mmu.pgd_val = pv_ops.mmu.make_pgd = identity;
	pv_ops.mmu.pmd_val = pv_ops.mmu.make_pmd = pv_ops.mmu.pud_val = pv_ops.mmu.make_pud = identity;
	pv_ops.mmu.p4d_val = pv_ops.mmu.make_p4d = identity;
	for (i = 0; i < 4; i++)
		table[i] = (unsigned long *)(memory + i * PAGE_SIZE);
	table[0][pgd_index(BASE)] = (unsigned long)table[1] | _KERNPG_TABLE | _PAGE_USER;
	table[1][pud_index(BASE)] = (unsigned long)table[2] | _KERNPG_TABLE | _PAGE_USER;
	table[2][pmd_index(BASE)] = (unsigned long)table[3] | _KERNPG_TABLE | _PAGE_USER;
	mm = ss_alloc(sizeof(*mm));
	mm->pgd = (pgd_t *)table[0];
	ctx = ss_alloc(sizeof(*ctx));
	init_once_userfaultfd_ctx(ctx);
	refcount_set(&ctx->refcount, 100);
	ctx->features = UFFD_FEATURE_INITIALIZED | (at[0] ? UFFD_FEATURE_SIGBUS : 0) | (at[1] ? UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP : 0);
	init_rwsem(&ctx->map_changing_lock);
	ctx->mm = mm;
	vma = ss_alloc(sizeof(*vma));
	vma->vm_mm = mm;
	vma->vm_start = ADDRESS(0);
	vma->vm_end = ADDRESS(PAGES);
	*(unsigned long *)&vma->vm_flags = VM_READ | VM_WRITE | VM_UFFD_MISSING | VM_UFFD_WP | VM_UFFD_MINOR;
	vma->vm_userfaultfd_ctx.ctx = ctx;
	for (i = 0; i < PAGES; i++)
		set_entry(i, at[2 + i]);
}

void ss_poke(int what, const long *arguments) { }

/* The look. */

static struct uffd_msg *message_of(wait_queue_entry_t *one) { return &container_of(one, struct userfaultfd_wait_queue, wq)->msg; }

void ss_look(void)
{
	wait_queue_entry_t *one;
	long number;

	ss_text("mmap=");
	ss_number(*(long *)&mm->mmap_lock.count);
	ss_text(" changing=");
	ss_number(atomic_read(&ctx->mmap_changing));
	ss_text(" released=");
	ss_number(ctx->released);
	ss_text(" pending=");
	list_for_each_entry_reverse(one, &ctx->fault_pending_wqh.head, entry) {
		ss_text(":");
		ss_number(number_of(message_of(one)));
	}
	ss_text(" read=");
	for (number = 100; number < 100 + 3 * PAGES; number++)
		list_for_each_entry(one, &ctx->fault_wqh.head, entry)
			if (((struct task_struct *)one->private)->__state != TASK_RUNNING && number_of(message_of(one)) == number) {
				ss_text(":");
				ss_number(number);
			}
	ss_text(" events=");
	if (ctx->released) /* nobody can read them any more */
		return;
	list_for_each_entry_reverse(one, &ctx->event_wqh.head, entry) {
		struct uffd_msg *msg = message_of(one);

		ss_text(":");
		ss_number((msg->event == UFFD_EVENT_REMOVE ? 200 : 300) + 10 * PAGE(msg->arg.remove.start) + PAGE(msg->arg.remove.end));
	}
}
