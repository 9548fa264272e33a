/*
 * The modules that came with the initramfs: on a kernel that has virtio as modules, the agent's line among them.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_module(const struct dirent *entry) { return !!strstr(entry->d_name, ".ko"); }

void load_modules(void)
{
	struct dirent **found;
	int folder = open("/modules", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int count = folder < 0 ? 0 : scandir("/modules", &found, is_module, alphasort);

	for (int i = 0; i < count; i++) {
		int file = openat(folder, found[i]->d_name, O_RDONLY | O_CLOEXEC);
		if (file < 0 || syscall(SYS_finit_module, file, "", 0))
			printf("secondsight: the module %s cannot be loaded: %s\n", found[i]->d_name, strerror(errno));
		close(file);
		free(found[i]);
	}
	if (count > 0)
		free(found);
	close(folder);
}
