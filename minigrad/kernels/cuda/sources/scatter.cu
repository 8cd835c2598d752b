// Rows added by number; the equation is that of minigrad/kernels/scatter.py.
#include "cluster.cuh"

// A block has the row of one value's number, and some columns. Of all values with this number it is the first one's
// block that adds them up, in their order; the blocks of the others have nothing to do. So no number in memory is added
// to by two blocks, and nothing has to be sorted.
//
// out [R, V, E], zeros, gets the sums of the values [R, N, E] by ids [R, N].
ENTRY program(const int* ids, const float* values, float* out, int N, int V, int E) {
    constexpr int WORDS = THREADS / 32;
    const int thread = threadIdx.x, column = blockIdx.y * THREADS + thread;
    const int n = blockIdx.x;
    const long long run = blockIdx.z;
    ids += run * N;
    values += run * N * E;
    out += run * V * E;
    unsigned* const votes = reinterpret_cast<unsigned*>(shared_memory());  // [2, WORDS]: who has found the number
    int* const found = reinterpret_cast<int*>(votes + 2 * WORDS);          // [THREADS]: where, in order

    const int id = ids[n];
    if (id < 0 || id >= V) return;  // there is no such row, and the host has not looked
    float sum = 0.0f;
    for (int first = 0; first < N; first += THREADS) {
        const int at = first + thread;
        const bool same = at < N && ids[at] == id;
        unsigned* const words = votes + first / THREADS % 2 * WORDS;
        vote(words, same);
        block_barrier();
        int count = 0, before = 0;
        for (int word = 0; word < WORDS; ++word) {
            if (32 * word + 32 <= thread) before += ones(words[word]);
            count += ones(words[word]);
        }
        if (count == 0) continue;
        if (same) found[before + ones(words[thread / 32] & ((1u << thread % 32) - 1))] = at;
        block_barrier();
        if (found[0] < n) return;
        if (column < E)
#pragma unroll 8
            for (int i = 0; i < count; ++i) sum += values[static_cast<long long>(found[i]) * E + column];
    }
    if (column < E) out[static_cast<long long>(id) * E + column] = sum;
}
