/*
 * drivers/dma-buf/udmabuf.c as it is, with memfds, who changes them, and a look at its state. See conform/targets/udmabuf.py,
 * which has the same world in the model: the numbers of operations and the form of the look are those there.
 */
#include SS_KERNEL_FILE

#include <linux/version.h>

#include "conform.h"

#define FILES 2
#define PAGES 2
#define BUFFERS 3
#define FRAMES 12
#define ENTRIES 3
#define DESCRIPTOR 3

/* Operations; their numbers are those of `Op` in conform/targets/udmabuf.py. */
enum { OP_CREATE, OP_CREATE_LIST, OP_RELEASE, OP_MAP, OP_FAULT, OP_PUNCH, OP_SEAL, OP_BEGIN, OP_END };

struct memfd {
	struct file file;
	struct inode inode;
	int seals, frame[PAGES]; /* 0: a hole */
};

static struct memfd *memfd;
static struct page *page;
static int refs[FRAMES], pins[FRAMES], free_frames[FRAMES], nr_free;
static struct dma_buf *buffer[BUFFERS], *exported[SS_THREADS];
static int entry[ENTRIES];
static int wanted[SS_THREADS]; /* O_CLOEXEC, if whoever asks for a buffer asks for it */
static struct udmabuf_create_item items[2];
static struct miscdevice device;
static int tables; /* of pages, that are not freed */

/* Frames: the one freed last is the next to be used. */

static int alloc_frame(void)
{
	int got = free_frames[--nr_free];

	refs[got] = 1;
	return got;
}

static void put_frame(int of)
{
	if (!--refs[of])
		free_frames[nr_free++] = of;
}

/* What other files of the kernel's do: mm/memfd.c, mm/gup.c, mm/memory.c, fs/file.c, drivers/dma-buf/dma-buf.c. */

unsigned long vmemmap_base;

static struct memfd *memfd_of(struct file *file) { return container_of(file, struct memfd, file); }

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
bool shmem_mapping(struct address_space *of) { return true; }
#else
bool shmem_mapping(const struct address_space *of) { return true; }
#endif

long memfd_fcntl(struct file *file, unsigned int cmd, unsigned int arg) { return memfd_of(file)->seals; }

long memfd_pin_folios(struct file *file, loff_t start, loff_t end, struct folio **folios, unsigned int max_folios, pgoff_t *offset)
{
	struct memfd *of = memfd_of(file);
	long i, first = start >> PAGE_SHIFT, count = ((end + 1) >> PAGE_SHIFT) - first;

	if (start > end || !max_folios || first + count > PAGES)
		return -EINVAL;
	for (i = 0; i < count; i++) {
		int *at = &of->frame[first + i];

		ss_stop("pin_folio", SS_FROM, 0, 0);
		if (!*at)
			*at = alloc_frame();
		refs[*at]++;
		pins[*at]++;
		folios[i] = page_folio(&page[*at]);
	}
	*offset = 0;
	return count;
}

void unpin_folio(struct folio *folio)
{
	int of = (int)(&folio->page - page);

	ss_stop("unpin", SS_FROM, 0, 0);
	pins[of]--;
	put_frame(of);
}

vm_fault_t vmf_insert_pfn(struct vm_area_struct *vma, unsigned long addr, unsigned long pfn)
{
	if (!entry[addr >> PAGE_SHIFT])
		entry[addr >> PAGE_SHIFT] = (int)pfn;
	return VM_FAULT_NOPAGE;
}

struct file *fget(unsigned int fd)
{
	ss_stop("fget", SS_FROM, 0, 0);
	return fd < FILES ? &memfd[fd].file : NULL;
}

void fput(struct file *file) { }

struct dma_buf *dma_buf_export(const struct dma_buf_export_info *exp_info)
{
	struct dma_buf *of = ss_alloc(sizeof(*of));

	of->ops = exp_info->ops;
	of->priv = exp_info->priv;
	of->size = exp_info->size;
	exported[ss_self()] = of;
	return of;
}

int dma_buf_fd(struct dma_buf *of, int flags)
{
	BUG_ON(of != exported[ss_self()] || flags != wanted[ss_self()]);
	return DESCRIPTOR;
}

/* Memory, and tables of pages. */

void *ss_kvmalloc(size_t size) asm("__kvmalloc_node_noprof");
void *ss_kvmalloc(size_t size) { return ss_alloc(size); }
void kvfree(const void *object) { }

int sg_alloc_table(struct sg_table *table, unsigned int nents, gfp_t flags)
{
	table->sgl = ss_alloc(nents * sizeof(*table->sgl));
	table->nents = table->orig_nents = nents;
	tables++;
	return 0;
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
struct scatterlist *sg_next(struct scatterlist *sg) { return sg + 1; }
#endif

int sg_alloc_table_from_pages_segment(struct sg_table *table, struct page **pages, unsigned int n_pages, unsigned int offset,
				      unsigned long size, unsigned int max_segment, gfp_t flags)
{
	unsigned int i;

	sg_alloc_table(table, n_pages, flags);
	for (i = 0; i < n_pages; i++)
		sg_set_page(&table->sgl[i], pages[i], PAGE_SIZE, 0);
	return 0;
}

void sg_free_table(struct sg_table *table) { tables--; }
int dma_map_sgtable(struct device *dev, struct sg_table *table, enum dma_data_direction dir, unsigned long attrs) { return 0; }
void dma_unmap_sg_attrs(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction dir, unsigned long attrs) { }

static int synced; /* for whom last */

void __dma_sync_sg_for_cpu(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction dir) { synced = OP_BEGIN; }
void __dma_sync_sg_for_device(struct device *dev, struct scatterlist *sg, int nents, enum dma_data_direction dir) { synced = OP_END; }

/* The device's own file, kernel mappings. */
SS_NEVER(mem_dump_obj);
SS_NEVER(__vma_start_write);
SS_NEVER(_copy_from_user);
SS_NEVER(dma_buf_put);
SS_NEVER(dma_set_coherent_mask);
SS_NEVER(dma_set_mask);
SS_NEVER(memdup_user);
SS_NEVER(misc_deregister);
SS_NEVER(misc_register);
SS_NEVER(vm_map_ram);
SS_NEVER(vm_unmap_ram);
SS_NEVER_DATA(param_ops_int);
SS_NEVER_DATA(hugetlb_optimize_vmemmap_key);

static long create(struct udmabuf_create_item *list, int count, long number)
{
	struct { struct udmabuf_create_list head; struct udmabuf_create_item none; } head = {
		.head = { .count = count, .flags = number % 2 ? UDMABUF_FLAGS_CLOEXEC : 0 },
	};
	long ret;

	ss_stop("create", 0, 0, 0);
	if (buffer[number])
		return 1;
	ss_stop("ioctl", 0, 0, 0);
	wanted[ss_self()] = number % 2 ? O_CLOEXEC : 0;
	ret = udmabuf_create(&device, &head.head, list);
	ss_stop("made", 0, 0, 0);
	if (ret != DESCRIPTOR)
		return ret;
	buffer[number] = exported[ss_self()];
	return 0;
}

static long map(struct dma_buf *of)
{
	struct dma_buf_attachment attach = { .dmabuf = of };
	struct sg_table *table = of->ops->map_dma_buf(&attach, DMA_BIDIRECTIONAL);
	long ret = 0;
	int i;

	for (i = table->nents - 1; i >= 0; i--)
		ret = ret * 16 + (sg_page(&table->sgl[i]) - page);
	of->ops->unmap_dma_buf(&attach, table, DMA_BIDIRECTIONAL);
	return ret;
}

static long fault(struct dma_buf *of, long pgoff, long va)
{
	struct vm_area_struct *vma = ss_alloc(sizeof(*vma));
	struct vm_fault vmf = { .vma = vma, .pgoff = pgoff, .address = va << PAGE_SHIFT };

	vma->vm_private_data = of->priv;
	return udmabuf_vm_fault(&vmf) == VM_FAULT_NOPAGE ? 0 : 1;
}

static long access(struct dma_buf *of, int operation)
{
	long ret;

	synced = 0;
	if (operation == OP_BEGIN)
		ret = of->ops->begin_cpu_access(of, DMA_BIDIRECTIONAL);
	else
		ret = of->ops->end_cpu_access(of, DMA_BIDIRECTIONAL);
	BUG_ON(synced != (ret ? 0 : operation));
	return ret;
}

long ss_operate(int operation, const long *at)
{
	struct udmabuf_create_item one = { .memfd = at[1], .offset = at[2] << PAGE_SHIFT, .size = at[3] << PAGE_SHIFT };
	struct dma_buf *of;
	int *frame;

	switch (operation) {
	case OP_CREATE:
		return create(&one, 1, at[0]);
	case OP_CREATE_LIST:
		return create(items, at[1], at[0]);
	case OP_SEAL:
		inode_lock(&memfd[at[0]].inode);
		memfd[at[0]].seals |= at[1];
		inode_unlock(&memfd[at[0]].inode);
		return 0;
	}
	ss_stop("one", 0, 0, 0);
	if (operation == OP_PUNCH) {
		frame = &memfd[at[0]].frame[at[1]];
		if (!*frame)
			return 1;
		put_frame(*frame);
		*frame = 0;
		return 0;
	}
	of = buffer[at[0]];
	if (!of)
		return 1;
	switch (operation) {
	case OP_RELEASE:
		buffer[at[0]] = NULL;
		of->ops->release(of);
		return 0;
	case OP_MAP:
		return map(of);
	case OP_BEGIN:
	case OP_END:
		return access(of, operation);
	case OP_FAULT:
		return fault(of, at[1], at[2]);
	}
	return -1;
}

/* The world. Arguments: of each memfd its seals and which pages it has; then the list of items: memfd, offset, size. */

void ss_setup(const long *at)
{
	int i, k;

	page = ss_alloc(FRAMES * sizeof(*page));
	vmemmap_base = (unsigned long)page;
	device.this_device = ss_alloc(sizeof(struct device));
	for (i = FRAMES - 1; i > 0; i--)
		free_frames[nr_free++] = i;
	memfd = ss_alloc(FILES * sizeof(*memfd));
	for (i = 0; i < FILES; i++, at += 1 + PAGES) {
		memfd[i].file.f_inode = &memfd[i].inode;
		memfd[i].file.f_mapping = &memfd[i].inode.i_data;
		memfd[i].file.f_op = ss_alloc(sizeof(struct file_operations));
		memfd[i].seals = at[0];
		for (k = 0; k < PAGES; k++)
			memfd[i].frame[k] = at[1 + k] ? alloc_frame() : 0;
	}
	for (i = 0; i < 2; i++, at += 3)
		items[i] = (struct udmabuf_create_item){ .memfd = at[0], .offset = at[1] << PAGE_SHIFT, .size = at[2] << PAGE_SHIFT };
}

void ss_poke(int what, const long *arguments) { }

/* The look. */

static void look_buffer(struct dma_buf *of)
{
	struct udmabuf *ubuf = of->priv;
	pgoff_t i;

	ss_number((long)(of->size >> PAGE_SHIFT));
	ss_text(ubuf->sg ? "t:" : ":");
	for (i = 0; i < ubuf->pagecount; i++) {
		ss_text(i ? "," : "");
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
		ss_number(&ubuf->folios[i]->page - page);
#else
		ss_number(ubuf->pages[i] - page);
#endif
	}
}

void ss_look(void)
{
	int i, k;

	for (i = 0; i < FILES; i++) {
		ss_text("memfd=");
		ss_number(*(long *)&memfd[i].inode.i_rwsem.count);
		ss_text(":");
		ss_number(memfd[i].seals);
		for (k = 0; k < PAGES; k++) {
			ss_text(k ? "," : ":");
			ss_number(memfd[i].frame[k]);
		}
		ss_text(" ");
	}
	ss_text("frames=");
	for (i = 1; i < FRAMES; i++) {
		ss_number(refs[i]);
		ss_text("/");
		ss_number(pins[i]);
		ss_text(" ");
	}
	for (i = 0; i < BUFFERS; i++) {
		ss_text("buffer=");
		if (buffer[i])
			look_buffer(buffer[i]);
		ss_text(" ");
	}
	ss_text("tables=");
	ss_number(tables);
	ss_text(" entries=");
	for (i = 0; i < ENTRIES; i++) {
		ss_text(i ? "," : "");
		ss_number(entry[i]);
	}
}
