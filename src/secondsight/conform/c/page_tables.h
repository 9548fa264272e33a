/* What walks over real page tables need that is the same for every file: RCU's readers, variables of the kernel's, and entries that are what they say. */

#pragma once

#include <linux/mm.h>
#include <linux/version.h>
#include <asm/paravirt.h>

/* Read-side sections of RCU, which a mapped page table is: none may be open where the thread can be left. */
static int rcu;

void __rcu_read_lock(void) { rcu++; }
void __rcu_read_unlock(void) { rcu--; }

/* Variables of the kernel's: no encryption, four levels, and memory that is mapped where it is. */

struct paravirt_patch_template pv_ops;
struct cpuinfo_x86 boot_cpu_data;
unsigned long page_offset_base, vmemmap_base, phys_base;
unsigned int pgdir_shift = 39, ptrs_per_p4d = 1;
phys_addr_t physical_mask = (1ULL << 52) - 1;
u64 sme_me_mask;
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
unsigned long zero_pfn = FIRST_PFN;
#else
unsigned long zero_page_pfn = FIRST_PFN;
#endif

/* The identity, in the calling convention of such functions: nothing but the result changes. */
u64 ss_identity(u64 value);
asm(".text\n.type ss_identity, @function\nss_identity:\n\tmov %rdi, %rax\n\tret\n.size ss_identity, . - ss_identity");

/* Entries of all levels are the numbers in them. */
static void entries_are_numbers(void)
{
	struct paravirt_callee_save identity = { ss_identity };

	pv_ops.mmu.pte_val = pv_ops.mmu.make_pte = pv_ops.mmu.pgd_val = pv_ops.mmu.make_pgd = identity;
	pv_ops.mmu.pmd_val = pv_ops.mmu.make_pmd = pv_ops.mmu.pud_val = pv_ops.mmu.make_pud = identity;
	pv_ops.mmu.p4d_val = pv_ops.mmu.make_p4d = identity;
}
