// What threads do together: one block, or a cluster of CLUSTER blocks that write into each other's shared memory.
//
// Everything that only a GPU has stands in this file, so that the kernels' arithmetic also compiles as plain C++ beside
// another file of this name. PTX is written out: the headers of cooperative groups need a CUDA toolkit on the user's
// machine, and what is needed of them is five instructions.
#pragma once

#if CLUSTER > 1
#define IN_CLUSTERS __cluster_dims__(CLUSTER, 1, 1)
#else
#define IN_CLUSTERS
#endif

#define ENTRY extern "C" __global__ void IN_CLUSTERS __launch_bounds__(THREADS, 1)
#define INLINE __device__ __forceinline__

// The dynamic shared memory of this block.
INLINE float* shared_memory() {
    extern __shared__ float4 shared_memory_of_block[];
    return reinterpret_cast<float*>(shared_memory_of_block);
}

// All threads of this block have come here, and what they wrote to shared memory is seen.
INLINE void block_barrier() { __syncthreads(); }

// Bit by bit what the threads of this block say, 32 to a word; read it behind a barrier.
INLINE void vote(unsigned* words, bool yes) {
    unsigned all = __ballot_sync(0xffffffffu, yes);
    if (threadIdx.x % 32 == 0) words[threadIdx.x / 32] = all;
}

// How many bits are set.
INLINE int ones(unsigned word) { return __popc(word); }

#if CLUSTER > 1

// Which block of its cluster this is.
INLINE int cluster_rank() {
    unsigned rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// This thread has written what the others read after `cluster_wait`. Neither half is marked as aligned: nothing here
// promises that the threads of a warp come together.
INLINE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }

// All threads of the cluster have arrived, and what they wrote before is seen.
INLINE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

// Write to where `place`, in this block's shared memory, lies in that of another block of the cluster.
INLINE void store_to(int rank, float* place, float value) {
    unsigned here = static_cast<unsigned>(__cvta_generic_to_shared(place)), there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(here), "r"(rank));
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(there), "f"(value) : "memory");
}

#else

INLINE int cluster_rank() { return 0; }
INLINE void cluster_arrive() {}
INLINE void cluster_wait() { __syncthreads(); }
INLINE void store_to(int, float* place, float value) { *place = value; }

#endif
