// The gated antisymmetric network; the equations are those of minigrad/kernels/antisymmetric.py. Gates are z, n; the
// weights are A = W_hh - W_hh^T - gamma I.
#include "cluster.cuh"
#include "formulas.cuh"
#include "recurrence.cuh"

#ifndef BACKWARD

// gates [R, T, B, 2H] holds x @ W_xh before and the gates afterwards.
struct Forward {
    static constexpr int SUMS = 1, VALUES = 1, LANES = 1;
    static constexpr bool FIRST = true, LAST = false, TRANSPOSED = false;
    struct Constant { float z, n; };
    struct Carry { float h; };
    struct Input { float z, n; };
    struct Output { float h, z, n; };

    const float* h0;
    const float* b_h;
    float* h;
    float* gates;
    float epsilon;

    INLINE Constant constant(Place p) const { return {b_h[p.at_run(2, 0)], b_h[p.at_run(2, 1)]}; }
    INLINE void start(Place p, Carry& carry, float* values) const { values[0] = carry.h = h0[p.at_row(1, 0)]; }
    INLINE Input load(Place p, int t) const { return {gates[p.at(t, 2, 0)], gates[p.at(t, 2, 1)]}; }
    INLINE void step(Constant b, Input in, Carry& carry, const float* sums, float* values, Output& out) const {
        out.z = sigmoid(in.z + b.z + sums[0]);
        out.n = tanhf(in.n + b.n + sums[0]);
        carry.h = carry.h + epsilon * (out.z * out.n);
        out.h = values[0] = carry.h;
    }
    INLINE void store(Place p, int t, Output out) const {
        h[p.at(t, 1, 0)] = out.h;
        gates[p.at(t, 2, 0)] = out.z;
        gates[p.at(t, 2, 1)] = out.n;
    }
    INLINE void finish(Place, Carry, const float*) const {}
};

KERNEL(
    Forward,
    LIST(const float* h0, const float* b_h, float* h, float* gates, float epsilon),
    LIST(h0, b_h, h, gates, epsilon)
)

#else

// d_u [R, T, B, 2H], d_v [R, T, B, H] and g_h0 [R, B, H] come of g [R, G, B, H], where G is T, or 1: that by the last
// state alone.
struct Backward {
    static constexpr int SUMS = 1, VALUES = 1, LANES = 1;
    static constexpr bool FIRST = false, LAST = true, TRANSPOSED = true;
    struct Constant {};
    struct Carry { float dh; };
    struct Input { float g, z, n; };
    struct Output { float z, n, v; };

    const float* g;
    const float* gates;
    float* d_u;
    float* d_v;
    float* g_h0;
    int G;
    float epsilon;

    INLINE Constant constant(Place) const { return {}; }
    INLINE void start(Place, Carry& carry, float*) const { carry.dh = 0.0f; }
    INLINE Input load(Place p, int step) const {
        int t = p.T - 1 - step;
        return {direct(g, p, t, G, 1, 0), gates[p.at(t, 2, 0)], gates[p.at(t, 2, 1)]};
    }
    INLINE void step(Constant, Input in, Carry& carry, const float* sums, float* values, Output& out) const {
        float dh = in.g + (carry.dh + sums[0]);
        out.z = flushed(epsilon * dh * in.n * sigmoid_derivative(in.z));
        out.n = flushed(epsilon * dh * in.z * tanh_derivative(in.n));
        out.v = values[0] = out.z + out.n;
        carry.dh = dh;
    }
    INLINE void store(Place p, int step, Output out) const {
        int t = p.T - 1 - step;
        d_u[p.at(t, 2, 0)] = out.z;
        d_u[p.at(t, 2, 1)] = out.n;
        d_v[p.at(t, 1, 0)] = out.v;
    }
    INLINE void finish(Place p, Carry carry, const float* sums) const { g_h0[p.at_row(1, 0)] = carry.dh + sums[0]; }
};

KERNEL(
    Backward,
    LIST(const float* g, const float* gates, float* d_u, float* d_v, float* g_h0, int G, float epsilon),
    LIST(g, gates, d_u, d_v, g_h0, G, epsilon)
)

#endif
