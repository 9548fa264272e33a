/*
 * The words of CUDA that bfs.cu uses, for a compiler for C++: one block of one thread, which is its own warp. What a card does to
 * the memory of several threads at once is not seen here; the compute-sanitizer looks at that on a card.
 */

#include <chrono>

#define BLOCK 1
#define __device__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
#define __syncthreads()
#define __syncwarp()
#define __activemask() 1u
#define __shfl_sync(mask, value, from) (value)
#define __popc __builtin_popcount
#define __ffs __builtin_ffs
#define __ldcg(place) (*(place))
#define LAUNCH(kernel, grid, block, size, ...) kernel(__VA_ARGS__)
#define ALL_BLOCKS_ARRIVE()

static const struct { unsigned x; } gridDim = { 1 };
static struct { unsigned x; } threadIdx;
static uint32_t shared[1 << 18];

static inline uint64_t __umul64hi(uint64_t a, uint64_t b) { return (uint64_t)((unsigned __int128)a * b >> 64); }

template <typename T, typename V> static inline T atomicAdd(T *place, V value)
{
	T before = *place;
	*place = before + value;
	return before;
}
template <typename T, typename V> static inline T atomicOr(T *place, V value)
{
	T before = *place;
	*place = before | value;
	return before;
}
template <typename T, typename V, typename W> static inline T atomicCAS(T *place, V old, W value)
{
	T before = *place;
	if (before == (T)old)
		*place = value;
	return before;
}

typedef int cudaError_t;
typedef std::chrono::steady_clock::time_point cudaEvent_t;
enum { cudaSuccess, cudaErrorMemoryAllocation = 2, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaLimitStackSize, cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaDeviceProp { const char *name; int multiProcessorCount, sharedMemPerBlockOptin; };

#define cudaGetErrorString(error) "out of memory"
#define cudaGetLastError() 0
#define cudaDeviceSetLimit(limit, value) 0
#define cudaFuncSetAttribute(function, attribute, value) 0
#define cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, size) (*(blocks) = 1, 0)
#define cudaMemcpy(to, from, size, way) (memcpy(to, from, size), 0)
#define cudaMemset(place, value, size) (memset(place, value, size), 0)
#define cudaMemGetInfo(free_bytes, all) (*(free_bytes) = *(all) = (size_t)1 << 28, 0)
#define dim3(size) (size)
#define cudaLaunchCooperativeKernel(kernel, grid, block, arguments, size, stream) \
	((void)(kernel), ss_expand_levels(*(ss_given *)*(arguments)), 0)
#define cudaDeviceSynchronize() 0
#define cudaEventCreate(event) 0
#define cudaEventRecord(event) (*(&event) = std::chrono::steady_clock::now(), 0)
#define cudaEventSynchronize(event) 0
#define cudaEventElapsedTime(ms, begin, end) (*(ms) = std::chrono::duration<float, std::milli>((end) - (begin)).count(), 0)

template <typename T> static inline cudaError_t cudaMalloc(T **place, size_t size) { return (*place = (T *)malloc(size)) ? 0 : 2; }
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *card, int) { *card = { "no card: g++", 1, sizeof shared }; return 0; }
