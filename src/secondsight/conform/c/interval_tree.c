/*
 * mm/interval_tree.c as it is, with vmas of one file and of one anon_vma that come, go and are looked for, and a look at both
 * trees. See conform/targets/mm_interval_tree.py, which has the same world in the model.
 */
#include SS_KERNEL_FILE

#include "conform.h"

enum { VMAS = 6, RESULTS = VMAS + 1 };

static struct rb_root_cached file_tree, anon_tree;
static struct vm_area_struct *vma;
static struct anon_vma_chain *chain;

/* Operations; their numbers are those of `Op` in conform/targets/mm_interval_tree.py. */

enum { OP_INSERT, OP_INSERT_AFTER, OP_REMOVE, OP_FIND, OP_ANON_INSERT, OP_ANON_REMOVE, OP_ANON_FIND };

/* The vmas in the order in which they come: the digits of a number. */
static long find(unsigned long first, unsigned long last)
{
	struct vm_area_struct *one;
	long in_order = 0;

	for (one = vma_interval_tree_iter_first(&file_tree, first, last); one; one = vma_interval_tree_iter_next(one, first, last))
		in_order = in_order * RESULTS + (one - vma) + 1;
	return in_order;
}

static long find_anon(unsigned long first, unsigned long last)
{
	struct anon_vma_chain *one;
	long in_order = 0;

	anon_vma_interval_tree_foreach(one, &anon_tree, first, last)
		in_order = in_order * RESULTS + (one - chain) + 1;
	return in_order;
}

long ss_operate(int operation, const long *at)
{
	ss_stop("one", 0, 0, 0);
	switch (operation) {
	case OP_INSERT:
		vma_interval_tree_insert(&vma[at[0]], &file_tree);
		return 0;
	case OP_INSERT_AFTER:
		vma_interval_tree_insert_after(&vma[at[0]], &vma[at[1]], &file_tree);
		return 0;
	case OP_REMOVE:
		vma_interval_tree_remove(&vma[at[0]], &file_tree);
		return 0;
	case OP_FIND:
		return find(at[0], at[1]);
	case OP_ANON_INSERT:
		anon_vma_interval_tree_insert(&chain[at[0]], &anon_tree);
		return 0;
	case OP_ANON_REMOVE:
		anon_vma_interval_tree_remove(&chain[at[0]], &anon_tree);
		return 0;
	case OP_ANON_FIND:
		return find_anon(at[0], at[0]);
	}
	return -1;
}

/* The world. Arguments: of each vma where it begins, how many pages it has, and which of its file's it begins with. */
void ss_setup(const long *at)
{
	long i;

	vma = ss_alloc(VMAS * sizeof(*vma));
	chain = ss_alloc(VMAS * sizeof(*chain));
	for (i = 0; i < VMAS; i++, at += 3) {
		vma[i].vm_start = at[0] << PAGE_SHIFT;
		vma[i].vm_end = (at[0] + at[1]) << PAGE_SHIFT;
		vma[i].vm_pgoff = at[2];
		chain[i].vma = &vma[i];
	}
}

void ss_poke(int what, const long *arguments) { }

/* The rest of a tree's invariants is seen by what is found in it; here that the first is where it is looked for. */
static void look_at(const char *name, struct rb_root_cached *tree, long (*number)(struct rb_node *))
{
	struct rb_node *node;

	ss_text(name);
	if (rb_first_cached(tree) != rb_first(&tree->rb_root))
		ss_text("?");
	for (node = rb_first(&tree->rb_root); node; node = rb_next(node)) {
		ss_text(":");
		ss_number(number(node));
	}
}

static long number_of_vma(struct rb_node *node) { return rb_entry(node, struct vm_area_struct, shared.rb) - vma; }
static long number_of_chain(struct rb_node *node) { return rb_entry(node, struct anon_vma_chain, rb) - chain; }

void ss_look(void)
{
	look_at("file=", &file_tree, number_of_vma);
	look_at(" anon=", &anon_tree, number_of_chain);
}
