// The simple recurrent network; the equations are those of minigrad/kernels/srn.py.
#include "cluster.cuh"
#include "formulas.cuh"
#include "recurrence.cuh"

#ifndef BACKWARD

// h [R, T, B, H] holds x @ W_xh before and the states afterwards.
struct Forward {
    static constexpr int SUMS = 1, VALUES = 1, LANES = 1;
    static constexpr bool FIRST = true, LAST = false, TRANSPOSED = false;
    struct Constant { float b; };
    struct Carry {};
    struct Input { float a; };
    struct Output { float h; };

    const float* h0;
    const float* b_h;
    float* h;

    INLINE Constant constant(Place p) const { return {b_h[p.at_run(1, 0)]}; }
    INLINE void start(Place p, Carry&, float* values) const { values[0] = h0[p.at_row(1, 0)]; }
    INLINE Input load(Place p, int t) const { return {h[p.at(t, 1, 0)]}; }
    INLINE void step(Constant c, Input in, Carry&, const float* sums, float* values, Output& out) const {
        out.h = activation<ACTIVATION>(in.a + c.b + sums[0]);
        values[0] = out.h;
    }
    INLINE void store(Place p, int t, Output out) const { h[p.at(t, 1, 0)] = out.h; }
    INLINE void finish(Place, Carry, const float*) const {}
};

KERNEL(Forward, LIST(const float* h0, const float* b_h, float* h), LIST(h0, b_h, h))

#else

// d [R, T, B, H] and g_h0 [R, B, H] come of g [R, G, B, H], where G is T, or 1: that by the last state alone.
struct Backward {
    static constexpr int SUMS = 1, VALUES = 1, LANES = 1;
    static constexpr bool FIRST = false, LAST = true, TRANSPOSED = true;
    struct Constant {};
    struct Carry {};
    struct Input { float g, h; };
    struct Output { float d; };

    const float* g;
    const float* h;
    float* d;
    float* g_h0;
    int G;

    INLINE Constant constant(Place) const { return {}; }
    INLINE void start(Place, Carry&, float*) const {}
    INLINE Input load(Place p, int step) const {
        int t = p.T - 1 - step;
        return {direct(g, p, t, G, 1, 0), h[p.at(t, 1, 0)]};
    }
    INLINE void step(Constant, Input in, Carry&, const float* sums, float* values, Output& out) const {
        out.d = flushed((in.g + sums[0]) * activation_derivative<ACTIVATION>(in.h));
        values[0] = out.d;
    }
    INLINE void store(Place p, int step, Output out) const { d[p.at(p.T - 1 - step, 1, 0)] = out.d; }
    INLINE void finish(Place p, Carry, const float* sums) const { g_h0[p.at_row(1, 0)] = sums[0]; }
};

KERNEL(Backward, LIST(const float* g, const float* h, float* d, float* g_h0, int G), LIST(g, h, d, g_h0, G))

#endif
