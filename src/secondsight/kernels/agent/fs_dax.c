/*
 * A file system that lies in a device's memory (fs-dax): memory that the boot line calls persistent, of which nd_e820 and nd_pmem make a disk
 * (kernels/qemu.py, kernels/dax_modules.py). Its files' pages are that memory, if its blocks are as large as a page, and they lie in a folder that says so;
 * those of another folder have a page cache (disk_file.c).
 *
 * The file system is written here, by hand: one group, no journal, a root folder and nothing in it. A run's files are gone when the next begins that
 * needs some, and not with the run: who holds a page of theirs has let go by then. (Linux 6.12 does not wait for that when a file ends.)
 */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRIVER "/sys/bus/nd/drivers/nd_pmem"
#define FOLDER FILE_SYSTEM "/dax"

/* Where everything is, by blocks of a page's size. */
enum { SUPER, GROUPS, BLOCK_BITMAP, INODE_BITMAP, INODES, ROOT = INODES + 2, FIRST_FREE, BLOCKS = 1024 };
enum { INODE_BYTES = 256, INODE_COUNT = (ROOT - INODES) * PAGE / INODE_BYTES, ROOT_INODE = 2, FIRST_INODE = 11 };
enum { GROUP_BLOCKS = 8 * PAGE };

static unsigned char disk[FIRST_FREE * PAGE];
static char disk_name[] = "/dev/pmem0";
static int mounted;

static void put(int at, int bytes, unsigned long value)
{
	for (int i = 0; i < bytes; i++)
		disk[at + i] = value >> 8 * i;
}

/* struct ext4_super_block and struct ext4_group_desc (fs/ext4/ext4.h), with numbers for revision 1 and blocks of 4 KiB. */
static void put_super(void)
{
	const int super = SUPER * PAGE + 1024, group = GROUPS * PAGE;

	put(super + 0, 4, INODE_COUNT);
	put(super + 4, 4, BLOCKS);
	put(super + 12, 4, BLOCKS - FIRST_FREE);
	put(super + 16, 4, INODE_COUNT - (FIRST_INODE - 1));
	put(super + 24, 4, 2); /* s_log_block_size: 1024 << 2 */
	put(super + 28, 4, 2); /* s_log_cluster_size */
	put(super + 32, 4, GROUP_BLOCKS);
	put(super + 36, 4, GROUP_BLOCKS);
	put(super + 40, 4, INODE_COUNT);
	put(super + 54, 2, 0xffff); /* s_max_mnt_count */
	put(super + 56, 2, 0xef53); /* s_magic */
	put(super + 58, 2, 1);      /* s_state: clean */
	put(super + 60, 2, 1);      /* s_errors: go on */
	put(super + 76, 4, 1);      /* s_rev_level */
	put(super + 84, 4, FIRST_INODE);
	put(super + 88, 2, INODE_BYTES);
	put(super + 96, 4, 0x42); /* s_feature_incompat: file types in folders, extents */
	put(group + 0, 4, BLOCK_BITMAP);
	put(group + 4, 4, INODE_BITMAP);
	put(group + 8, 4, INODES);
	put(group + 12, 2, BLOCKS - FIRST_FREE);
	put(group + 14, 2, INODE_COUNT - (FIRST_INODE - 1));
	put(group + 16, 2, 1); /* bg_used_dirs_count */
}

/* A bitmap's block: the first ones are used, and those that there are not. */
static void put_bitmap(int block, int used, int count)
{
	for (int i = 0; i < GROUP_BLOCKS; i++)
		if (i < used || i >= count)
			disk[block * PAGE + i / 8] |= 1 << i % 8;
}

/* The root folder: struct ext4_inode with one struct ext4_extent, and two struct ext4_dir_entry_2. */
static void put_root(void)
{
	const int inode = INODES * PAGE + (ROOT_INODE - 1) * INODE_BYTES, folder = ROOT * PAGE;

	put(inode + 0, 2, S_IFDIR | 0755);
	put(inode + 4, 4, PAGE);
	put(inode + 26, 2, 2); /* i_links_count */
	put(inode + 28, 4, PAGE / 512);
	put(inode + 32, 4, 0x80000); /* i_flags: extents */
	put(inode + 40, 2, 0xf30a);  /* eh_magic */
	put(inode + 42, 2, 1);
	put(inode + 44, 2, 4);
	put(inode + 56, 2, 1); /* ee_len */
	put(inode + 60, 4, ROOT);
	put(inode + 128, 2, 32); /* i_extra_isize */
	put(folder + 0, 4, ROOT_INODE);
	put(folder + 4, 2, 12);
	put(folder + 6, 2, 1 | 2 << 8); /* a name of one letter; a folder */
	put(folder + 8, 1, '.');
	put(folder + 12, 4, ROOT_INODE);
	put(folder + 16, 2, PAGE - 12);
	put(folder + 18, 2, 2 | 2 << 8);
	put(folder + 20, 2, '.' | '.' << 8);
}

/* The disk's number is its region's, of which device-dax has one too. */
static int find_disk(void)
{
	char *number = disk_name + sizeof disk_name - 2;

	for (*number = '0'; *number < '9'; ++*number)
		if (!access(disk_name, F_OK))
			return 1;
	return 0;
}

static int write_disk(void)
{
	int fd = open(disk_name, O_RDWR | O_CLOEXEC);
	int done;

	put_super();
	put_bitmap(BLOCK_BITMAP, FIRST_FREE, BLOCKS);
	put_bitmap(INODE_BITMAP, FIRST_INODE - 1, INODE_COUNT);
	put_root();
	done = fd >= 0 && pwrite(fd, disk, sizeof disk, 0) == sizeof disk && !fsync(fd);
	if (fd >= 0)
		close(fd);
	return done;
}

/* Make a file of pages that hold 0, with a block each: a block that was never written would be none to a reader. */
static int make_file(const char *name, long pages)
{
	static const char zeros[PAGE];
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	for (long i = 0; fd >= 0 && i < pages; i++) {
		if (pwrite(fd, zeros, PAGE, i * PAGE) != PAGE) {
			int error = errno;
			close(fd);
			errno = error;
			return -1;
		}
	}
	return fd;
}

/* Whether a file's pages are the device's memory themselves. */
int is_dax(int fd)
{
	struct statx found = { 0 };

	return !statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &found) && found.stx_attributes & STATX_ATTR_DAX;
}

/* Writing back would protect pages from writing, which devices are told of: no scenario takes so long, and none has its files written back but where it says so. */
static void no_writeback(void)
{
	int fd = open("/proc/sys/vm/dirty_writeback_centisecs", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		puts("secondsight: files are written back");
	close(fd);
}

void begin_fs_dax(void)
{
	int fd = -1;

	if (access(DRIVER, F_OK))
		return;
	for (int i = 0; i < 2000 && !find_disk(); i++)
		usleep(5000); /* the device is found by a thread of the kernel's */
	no_writeback();
	mkdir(FILE_SYSTEM, 0755);
	/* dioread_lock: what is written is written when the writer returns, and no thread of the kernel's has to say so later. */
	if (write_disk() && !mount(disk_name, FILE_SYSTEM, "ext4", MS_NOATIME, "dax=inode,dioread_lock")) {
		begin_disk_files(disk_name);
		if (!mkdir(FOLDER, 0755) && !want_dax(FOLDER))
			fd = make_file(FOLDER "/first", 1);
	}
	mounted = fd >= 0 && is_dax(fd);
	if (!mounted)
		printf("secondsight: no file system in %s whose files are its memory: %s\n", disk_name, strerror(errno));
	close(fd);
}

int has_fs_dax(void) { return mounted; }

const char *make_empty(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	int failed = 0;

	while (folder && (entry = readdir(folder)))
		if (entry->d_name[0] != '.')
			failed |= unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder)
		closedir(folder);
	return failed || !folder ? "the files of the last run are there still" : NULL;
}

const char *place_fs_dax(int needed)
{
	if (!needed)
		return NULL;
	return mounted ? make_empty(FOLDER) : "there is no file system in a device's memory";
}

int do_fs_dax(const long *arg, int makes)
{
	char name[32];

	snprintf(name, sizeof name, FOLDER "/%d", makes);
	return keep_file(make_file(name, arg[0]), makes);
}

int do_fs_dax_punch_hole(const long *arg, int makes)
{
	(void)makes;
	return fallocate(descriptor(arg[0]), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, arg[1] * PAGE, arg[2] * PAGE) ? failed() : DONE;
}
