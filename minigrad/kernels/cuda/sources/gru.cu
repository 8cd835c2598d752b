// The gated recurrent unit; the equations are those of minigrad/kernels/gru.py. Gates are r, z, n, and beside them v_n.
#include "cluster.cuh"
#include "formulas.cuh"
#include "recurrence.cuh"

#ifndef BACKWARD

// u [R, T, B, 3H] is x @ W_xh; gates is [R, T, B, 4H].
struct Forward {
    static constexpr int SUMS = 3, VALUES = 1, LANES = 1;
    static constexpr bool FIRST = true, LAST = false, TRANSPOSED = false;
    struct Constant { float x_r, x_z, x_n, h_r, h_z, h_n; };
    struct Carry { float h; };
    struct Input { float r, z, n; };
    struct Output { float h, r, z, n, v_n; };

    const float* u;
    const float* h0;
    const float* b_xh;
    const float* b_hh;
    float* h;
    float* gates;

    INLINE Constant constant(Place p) const {
        return {
            b_xh[p.at_run(3, 0)],
            b_xh[p.at_run(3, 1)],
            b_xh[p.at_run(3, 2)],
            b_hh[p.at_run(3, 0)],
            b_hh[p.at_run(3, 1)],
            b_hh[p.at_run(3, 2)],
        };
    }
    INLINE void start(Place p, Carry& carry, float* values) const { values[0] = carry.h = h0[p.at_row(1, 0)]; }
    INLINE Input load(Place p, int t) const { return {u[p.at(t, 3, 0)], u[p.at(t, 3, 1)], u[p.at(t, 3, 2)]}; }
    INLINE void step(Constant b, Input in, Carry& carry, const float* sums, float* values, Output& out) const {
        out.r = sigmoid(in.r + b.x_r + (sums[0] + b.h_r));
        out.z = sigmoid(in.z + b.x_z + (sums[1] + b.h_z));
        out.v_n = sums[2] + b.h_n;
        out.n = tanhf(in.n + b.x_n + out.r * out.v_n);
        carry.h = out.n - out.z * (out.n - carry.h);
        out.h = values[0] = carry.h;
    }
    INLINE void store(Place p, int t, Output out) const {
        h[p.at(t, 1, 0)] = out.h;
        gates[p.at(t, 4, 0)] = out.r;
        gates[p.at(t, 4, 1)] = out.z;
        gates[p.at(t, 4, 2)] = out.n;
        gates[p.at(t, 4, 3)] = out.v_n;
    }
    INLINE void finish(Place, Carry, const float*) const {}
};

KERNEL(
    Forward,
    LIST(const float* u, const float* h0, const float* b_xh, const float* b_hh, float* h, float* gates),
    LIST(u, h0, b_xh, b_hh, h, gates)
)

#else

// d_u, d_v [R, T, B, 3H] and g_h0 [R, B, H] come of g [R, G, B, H], where G is T, or 1: that by the last state alone.
struct Backward {
    static constexpr int SUMS = 1, VALUES = 3, LANES = 1;
    static constexpr bool FIRST = false, LAST = true, TRANSPOSED = true;
    struct Constant {};
    struct Carry { float dh; };
    struct Input { float g, r, z, n, v_n, h_before; };
    struct Output { float r, z, n, v; };

    const float* g;
    const float* h;
    const float* h0;
    const float* gates;
    float* d_u;
    float* d_v;
    float* g_h0;
    int G;

    INLINE Constant constant(Place) const { return {}; }
    INLINE void start(Place, Carry& carry, float*) const { carry.dh = 0.0f; }
    INLINE Input load(Place p, int step) const {
        int t = p.T - 1 - step;
        return {
            direct(g, p, t, G, 1, 0),
            gates[p.at(t, 4, 0)],
            gates[p.at(t, 4, 1)],
            gates[p.at(t, 4, 2)],
            gates[p.at(t, 4, 3)],
            t ? h[p.at(t - 1, 1, 0)] : h0[p.at_row(1, 0)],
        };
    }
    INLINE void step(Constant, Input in, Carry& carry, const float* sums, float* values, Output& out) const {
        float dh = in.g + (carry.dh + sums[0]);
        out.n = flushed(dh * (1.0f - in.z) * tanh_derivative(in.n));
        out.r = flushed(out.n * in.v_n * sigmoid_derivative(in.r));
        out.z = flushed(dh * (in.h_before - in.n) * sigmoid_derivative(in.z));
        out.v = flushed(out.n * in.r);
        carry.dh = flushed(dh * in.z);
        values[0] = out.r;
        values[1] = out.z;
        values[2] = out.v;
    }
    INLINE void store(Place p, int step, Output out) const {
        int t = p.T - 1 - step;
        d_u[p.at(t, 3, 0)] = d_v[p.at(t, 3, 0)] = out.r;
        d_u[p.at(t, 3, 1)] = d_v[p.at(t, 3, 1)] = out.z;
        d_u[p.at(t, 3, 2)] = out.n;
        d_v[p.at(t, 3, 2)] = out.v;
    }
    INLINE void finish(Place p, Carry carry, const float* sums) const { g_h0[p.at_row(1, 0)] = carry.dh + sums[0]; }
};

KERNEL(
    Backward,
    LIST(
        const float* g, const float* h, const float* h0, const float* gates, float* d_u, float* d_v, float* g_h0, int G
    ),
    LIST(g, h, h0, gates, d_u, d_v, g_h0, G)
)

#endif
