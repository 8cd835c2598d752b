// Softmax cross-entropy, a block a token; the equations are those of minigrad/kernels/readout.py.
#include "cluster.cuh"

// NaN where either is.
INLINE float larger(float a, float b) { return b > a || b != b ? b : a; }
INLINE float sum(float a, float b) { return a + b; }

// What all threads of the block have, put together in one order.
template <float combined(float, float)>
INLINE float of_all(float* shared, float value) {
    const int thread = threadIdx.x;
    block_barrier();  // an earlier answer has been read
    shared[thread] = value;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        block_barrier();
        if (thread < half) shared[thread] = combined(shared[thread], shared[thread + half]);
    }
    block_barrier();
    return shared[0];
}

// z [R, N, V] holds h @ W before and q afterwards; of b [R, V] and y [R, N] come E [R, N], a loss a token, and c [R, N].
ENTRY program(float* z, const float* b, const int* y, float* E, float* c, int N, int V) {
    const int thread = threadIdx.x, run = blockIdx.z;
    const long long token = static_cast<long long>(run) * N + blockIdx.x;
    const int own = y[token];
    float* const row = z + token * V;
    const float* const bias = b + static_cast<long long>(run) * V;
    float* const shared = shared_memory();

    float most = row[thread < V ? thread : 0] + bias[thread < V ? thread : 0];
    for (int v = thread + THREADS; v < V; v += THREADS) most = larger(most, row[v] + bias[v]);
    const float m = of_all<larger>(shared, most);

    float part = 0.0f, loss = 0.0f, at_own = 0.0f;
    for (int v = thread; v < V; v += THREADS) {
        const float above = row[v] + bias[v] - m, e = expf(above);
        part += e;
        row[v] = e;
        if (v == own) {
            loss = -above;
            at_own = e;
        }
    }
    const float s = of_all<sum>(shared, part);

    if (own < 0 || own >= V) {  // there is no such class, and the host has not looked: nothing may be written there
        if (thread == 0) E[token] = nanf("");
    } else if (own % THREADS == thread) {
        row[own] = at_own - s;
        E[token] = logf(s) + loss;
    }
    if (thread == 0) c[token] = 1.0f / (N * s);
}
