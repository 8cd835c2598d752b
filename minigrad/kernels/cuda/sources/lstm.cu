// Long short-term memory; the equations are those of minigrad/kernels/lstm.py. A state is [h | c], gates are i, f, g, o.
#include "cluster.cuh"
#include "formulas.cuh"
#include "recurrence.cuh"

#ifndef BACKWARD

// gates [R, T, B, 4H] holds x @ W_xh before and the gates afterwards; s is [R, T, B, 2H].
struct Forward {
    static constexpr int SUMS = 4, VALUES = 1, LANES = 1;
    static constexpr bool FIRST = true, LAST = false, TRANSPOSED = false;
    struct Constant { float i, f, g, o; };
    struct Carry { float c; };
    struct Input { float i, f, g, o; };
    struct Output { float h, c, i, f, g, o; };

    const float* s0;
    const float* b_h;
    float* gates;
    float* s;

    INLINE Constant constant(Place p) const {
        return {b_h[p.at_run(4, 0)], b_h[p.at_run(4, 1)], b_h[p.at_run(4, 2)], b_h[p.at_run(4, 3)]};
    }
    INLINE void start(Place p, Carry& carry, float* values) const {
        values[0] = s0[p.at_row(2, 0)];
        carry.c = s0[p.at_row(2, 1)];
    }
    INLINE Input load(Place p, int t) const {
        return {gates[p.at(t, 4, 0)], gates[p.at(t, 4, 1)], gates[p.at(t, 4, 2)], gates[p.at(t, 4, 3)]};
    }
    INLINE void step(Constant b, Input in, Carry& carry, const float* sums, float* values, Output& out) const {
        out.i = sigmoid(in.i + b.i + sums[0]);
        out.f = sigmoid(in.f + b.f + sums[1]);
        out.g = tanhf(in.g + b.g + sums[2]);
        out.o = sigmoid(in.o + b.o + sums[3]);
        carry.c = out.f * carry.c + out.i * out.g;
        out.c = carry.c;
        out.h = out.o * tanhf(carry.c);
        values[0] = out.h;
    }
    INLINE void store(Place p, int t, Output out) const {
        s[p.at(t, 2, 0)] = out.h;
        s[p.at(t, 2, 1)] = out.c;
        gates[p.at(t, 4, 0)] = out.i;
        gates[p.at(t, 4, 1)] = out.f;
        gates[p.at(t, 4, 2)] = out.g;
        gates[p.at(t, 4, 3)] = out.o;
    }
    INLINE void finish(Place, Carry, const float*) const {}
};

KERNEL(
    Forward, LIST(const float* s0, const float* b_h, float* gates, float* s), LIST(s0, b_h, gates, s)
)

#else

// d [R, T, B, 4H] and g_s0 [R, B, 2H] come of g [R, G, B, parts H]: G is T, or 1 (the last state alone); parts is 2, or
// 1 (h alone).
struct Backward {
    static constexpr int SUMS = 1, VALUES = 4, LANES = 1;
    static constexpr bool FIRST = false, LAST = true, TRANSPOSED = true;
    struct Constant {};
    struct Carry { float c, dc; };
    struct Input { float g_h, g_c, i, f, g, o, c_before; };
    struct Output { float i, f, g, o; };

    const float* g;
    const float* s;
    const float* s0;
    const float* gates;
    float* d;
    float* g_s0;
    int G, parts;

    INLINE Constant constant(Place) const { return {}; }
    INLINE void start(Place p, Carry& carry, float*) const { carry = {s[p.at(p.T - 1, 2, 1)], 0.0f}; }
    INLINE Input load(Place p, int step) const {
        int t = p.T - 1 - step;
        return {
            direct(g, p, t, G, parts, 0),
            parts == 2 ? direct(g, p, t, G, parts, 1) : 0.0f,
            gates[p.at(t, 4, 0)],
            gates[p.at(t, 4, 1)],
            gates[p.at(t, 4, 2)],
            gates[p.at(t, 4, 3)],
            t ? s[p.at(t - 1, 2, 1)] : s0[p.at_row(2, 1)],
        };
    }
    INLINE void step(Constant, Input in, Carry& carry, const float* sums, float* values, Output& out) const {
        float y = tanhf(carry.c), dh = in.g_h + sums[0];
        float dc = in.g_c + carry.dc + dh * in.o * tanh_derivative(y);
        out.i = flushed(dc * in.g * sigmoid_derivative(in.i));
        out.f = flushed(dc * in.c_before * sigmoid_derivative(in.f));
        out.g = flushed(dc * in.i * tanh_derivative(in.g));
        out.o = flushed(dh * y * sigmoid_derivative(in.o));
        carry = {in.c_before, flushed(dc * in.f)};
        values[0] = out.i;
        values[1] = out.f;
        values[2] = out.g;
        values[3] = out.o;
    }
    INLINE void store(Place p, int step, Output out) const {
        int t = p.T - 1 - step;
        d[p.at(t, 4, 0)] = out.i;
        d[p.at(t, 4, 1)] = out.f;
        d[p.at(t, 4, 2)] = out.g;
        d[p.at(t, 4, 3)] = out.o;
    }
    INLINE void finish(Place p, Carry carry, const float* sums) const {
        g_s0[p.at_row(2, 0)] = sums[0];
        g_s0[p.at_row(2, 1)] = carry.dc;
    }
};

KERNEL(
    Backward,
    LIST(const float* g, const float* s, const float* s0, const float* gates, float* d, float* g_s0, int G, int parts),
    LIST(g, s, s0, gates, d, g_s0, G, parts)
)

#endif
