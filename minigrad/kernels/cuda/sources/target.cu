// The target recursion; the equations are those of minigrad/kernels/target.py. A row has two states that go through the
// same arithmetic, h_{t+1} and target_{t+1}: where these are equal, so is what G makes of them, to the bit.
#include "cluster.cuh"
#include "formulas.cuh"
#include "recurrence.cuh"

// u [R, T, B, H] is x @ W_xh; T - 1 steps write targets [R, T, B, H] but the last, which is given.
struct Forward {
    static constexpr int SUMS = 1, VALUES = 1, LANES = 2;
    static constexpr bool FIRST = true, LAST = false, TRANSPOSED = false;
    struct Constant { float c; };
    struct Carry {};
    struct Input { float a, h; };
    struct Output { float target; };

    const float* u;
    const float* h;
    const float* c_h;
    float* targets;

    INLINE Constant constant(Place p) const { return {c_h[p.at_run(1, 0)]}; }
    INLINE void start(Place p, Carry&, float* values) const {
        values[0] = h[p.at(p.T - 1, 1, 0)];
        values[1] = targets[p.at(p.T - 1, 1, 0)];
    }
    INLINE Input load(Place p, int step) const {
        int t = p.T - 2 - step;
        return {u[p.at(t + 1, 1, 0)], h[p.at(t, 1, 0)]};
    }
    INLINE void step(Constant c, Input in, Carry&, const float* sums, float* values, Output& out) const {
        float G[2];
#pragma unroll
        for (int lane = 0; lane < 2; ++lane) G[lane] = activation<ACTIVATION>(in.a + c.c + sums[lane]);
        values[0] = in.h;
        out.target = values[1] = in.h - (G[0] - G[1]);
    }
    INLINE void store(Place p, int step, Output out) const { targets[p.at(p.T - 2 - step, 1, 0)] = out.target; }
    INLINE void finish(Place, Carry, const float*) const {}
};

KERNEL(Forward, LIST(const float* u, const float* h, const float* c_h, float* targets), LIST(u, h, c_h, targets))
