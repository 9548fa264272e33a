/* What the card can do at most: copying, and putting numbers into a table in any order; beside `bfs.cu`, whose table is filled like that. */

#include <cuda_runtime.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef unsigned long long u64;

static void checked(cudaError_t error)
{
	if (error != cudaSuccess) {
		fprintf(stderr, "%s\n", cudaGetErrorString(error));
		exit(2);
	}
}

__device__ static u64 mixed(u64 n)
{
	n += 0x9e3779b97f4a7c15ull;
	n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9ull;
	n = (n ^ n >> 27) * 0x94d049bb133111ebull;
	return n ^ n >> 31;
}

/* Numbers from `first` on. */
__global__ static void put(u64 *table, u64 slots, u64 first, u64 count, u64 *came)
{
	u64 inserted = 0;
	for (u64 i = blockIdx.x * (u64)blockDim.x + threadIdx.x; i < count; i += gridDim.x * (u64)blockDim.x) {
		u64 print = mixed(first + i) | 1, at = __umul64hi(print, slots);
		for (;;) {
			u64 there = __ldcg(&table[at]);
			if (!there && !(there = atomicCAS(&table[at], 0, print))) {
				inserted++;
				break;
			}
			if (there == print)
				break;
			at = at + 1 == slots ? 0 : at + 1;
		}
	}
	atomicAdd(came, inserted);
}

int main(int argc, char **argv)
{
	u64 slots = argc > 1 ? strtoull(argv[1], NULL, 10) : 1ull << 27, count = slots / 4, *table, *came, inserted;
	cudaEvent_t begun, over;
	float ms;
	checked(cudaEventCreate(&begun));
	checked(cudaEventCreate(&over));
	checked(cudaMalloc(&table, slots * 8));
	checked(cudaMalloc(&came, 8));
	checked(cudaMemset(table, 0, slots * 8));
	checked(cudaMemset(came, 0, 8));
	u64 half = slots * 4;
	for (int i = 0; i < 2; i++) { /* the first to warm up */
		checked(cudaEventRecord(begun));
		checked(cudaMemcpyAsync(table, (char *)table + half, half, cudaMemcpyDeviceToDevice));
		checked(cudaEventRecord(over));
		checked(cudaEventSynchronize(over));
		checked(cudaEventElapsedTime(&ms, begun, over));
	}
	printf("copy: %.0f GB a second, read and written\n", 2.0 * half / ms / 1e6);
	for (int i = 0; i < 3; i++) { /* into an empty table, into one that is a quarter full, and once more what is there */
		u64 first = i == 1 ? count : 0;
		checked(cudaEventRecord(begun));
		put<<<132 * 16, 256>>>(table, slots, first, count, came);
		checked(cudaEventRecord(over));
		checked(cudaEventSynchronize(over));
		checked(cudaGetLastError());
		checked(cudaEventElapsedTime(&ms, begun, over));
		checked(cudaMemcpy(&inserted, came, 8, cudaMemcpyDeviceToHost));
		printf("table of %llu slots: %llu numbers %s: %.0f million a second\n", slots, count, i == 2 ? "looked for that are there" : "put in", count / ms / 1e3);
	}
	printf("%llu are there\n", inserted);
	return 0;
}
