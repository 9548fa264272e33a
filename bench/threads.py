"""The mirror protocol as a program of threads in C, for GenMC and Nidhugg, which run programs and have no states.

It is the protocol of bench/mirror.py, and not step for step, as a program has no steps but its accesses: the mmap lock is a
mutex, who maps takes the first frame that is free, and a device looks at its entry under its lock. Each of these makes the
program smaller. There is one page: neither tool has a choice of data.
"""

from __future__ import annotations

from bench.sizes import Size

__all__ = ["threads"]

_PROGRAM = """#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

void __VERIFIER_assume(_Bool); /* a run in which this does not hold ends here, and is none */

static atomic_int cpu_pte, used[FRAMES], seq;
static int dev_pte[DEVICES];
static pthread_mutex_t mmap_lock, dlock[DEVICES];

/* Maps the first free frame, under the mmap lock. */
static int map(void)
{
    for (int frame = 0; frame < FRAMES; frame++) {
        if (!used[frame]) {
            used[frame] = 1;
            cpu_pte = frame + 1;
            return frame + 1;
        }
    }
    return 0;
}

static void *cpu(void *unused)
{
    (void)unused;
    for (int k = 0; k < OPERATIONS; k++) {
        pthread_mutex_lock(&mmap_lock);
        int frame = cpu_pte;
        if (!frame) {
            map();
        } else {
            seq++;
            for (int d = 0; d < DEVICES; d++) {
                pthread_mutex_lock(&dlock[d]);
                dev_pte[d] = 0;
                pthread_mutex_unlock(&dlock[d]);
            }
            cpu_pte = 0;
            used[frame - 1] = 0;
            seq++;
        }
        pthread_mutex_unlock(&mmap_lock);
    }
    return NULL;
}

static void *device(void *number)
{
    long me = (long)number;
    for (int l = 0; l < DEVICE_OPERATIONS; l++) {
        for (;;) {
            int s = seq;
            __VERIFIER_assume(!(s & 1));
            pthread_mutex_lock(&mmap_lock);
            int frame = cpu_pte;
            if (!frame) frame = map();
            pthread_mutex_unlock(&mmap_lock);
            pthread_mutex_lock(&dlock[me]);
RETRY            dev_pte[me] = frame;
            pthread_mutex_unlock(&dlock[me]);
            break;
        }
        pthread_mutex_lock(&dlock[me]);
        int entry = dev_pte[me];
        if (entry) {
            assert(used[entry - 1]);
            assert(cpu_pte == entry);
        }
        pthread_mutex_unlock(&dlock[me]);
    }
    return NULL;
}

int main(void)
{
    pthread_t cpus[CPUS], devices[DEVICES];

    pthread_mutex_init(&mmap_lock, NULL);
    for (int d = 0; d < DEVICES; d++) pthread_mutex_init(&dlock[d], NULL);
    for (int c = 0; c < CPUS; c++) pthread_create(&cpus[c], NULL, cpu, NULL);
    for (long d = 0; d < DEVICES; d++) pthread_create(&devices[d], NULL, device, (void *)d);
    for (int c = 0; c < CPUS; c++) pthread_join(cpus[c], NULL);
    for (int d = 0; d < DEVICES; d++) pthread_join(devices[d], NULL);
    return 0;
}
"""

_RETRY = """            if (seq != s) {
                pthread_mutex_unlock(&dlock[me]);
                continue;
            }
"""


def threads(size: Size, retry_test: bool = True) -> str:
    """The program's text; without `retry_test` the mutant. Raises `ValueError` if there is more than one page to choose from."""
    if size.pages != 1:
        raise ValueError(f"size {size.name} has {size.pages} pages: this program has no choice among them")
    numbers = {
        "DEVICES": size.devices, "CPUS": size.cpus, "FRAMES": size.frames,
        "OPERATIONS": size.operations, "DEVICE_OPERATIONS": size.device_operations,
    }  # fmt: skip
    head = "".join(f"#define {n} {v}\n" for n, v in numbers.items())
    return head + _PROGRAM.replace("RETRY", _RETRY if retry_test else "")
