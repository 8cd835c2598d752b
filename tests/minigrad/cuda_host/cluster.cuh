// The host's stand-in for sources/cluster.cuh: what threads do together, by the fibers of fibers.cpp.
#pragma once

// No header of the library: reading those takes longer than compiling a kernel.
#define fmaf __builtin_fmaf
#define fabsf __builtin_fabsf
#define expf __builtin_expf
#define nanf __builtin_nanf
#define logf __builtin_logf
#define tanhf __builtin_tanhf
#define __device__
#define __forceinline__ inline
#define INLINE inline
#define ENTRY extern "C" void

struct alignas(16) float4 {
    float x, y, z, w;
};
struct Index {
    unsigned x, y, z;
};

extern "C" {
extern Index host_thread, host_block;  // of the fiber that runs
extern float* host_shared;  // of its block
extern int host_rank;
void host_block_barrier();
void host_cluster_arrive();
void host_cluster_wait();
void host_store_to(int rank, float* place, float value);
}

#define threadIdx host_thread
#define blockIdx host_block

INLINE float* shared_memory() { return host_shared; }
INLINE void block_barrier() { host_block_barrier(); }
INLINE void vote(unsigned* words, bool yes) {  // one fiber after the other
    unsigned bit = 1u << host_thread.x % 32, &word = words[host_thread.x / 32];
    word = yes ? word | bit : word & ~bit;
}
INLINE int ones(unsigned word) { return __builtin_popcount(word); }
INLINE int cluster_rank() { return host_rank; }
INLINE void cluster_arrive() { host_cluster_arrive(); }
INLINE void cluster_wait() { host_cluster_wait(); }
INLINE void store_to(int rank, float* place, float value) { host_store_to(rank, place, value); }

// A call of a kernel with the addresses of its arguments, as a driver has them.
template <int... numbers>
struct Numbers {};
template <int count, int... numbers>
struct First : First<count - 1, count - 1, numbers...> {};
template <int... numbers>
struct First<0, numbers...> {
    using Type = Numbers<numbers...>;
};
template <class... Arguments, int... number>
void call_with(void (*kernel)(Arguments...), void** arguments, Numbers<number...>) {
    kernel(*static_cast<Arguments*>(arguments[number])...);
}
template <class... Arguments>
void call(void (*kernel)(Arguments...), void** arguments) {
    call_with(kernel, arguments, typename First<sizeof...(Arguments)>::Type{});
}
