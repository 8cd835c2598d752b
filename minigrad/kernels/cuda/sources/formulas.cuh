// The activations and their derivatives, expressed through the values; those of minigrad/kernels/activations.py.
//
// expf and tanhf are the library's, at most 2 units in the last place off; nothing is compiled with fast-math. NaN in,
// NaN out: comparisons are written so that NaN takes the branch that keeps it.
#pragma once

enum { TANH, SIGMOID, RELU, LINEAR };

// By the exponential of -|a|, which neither overflows nor cancels.
INLINE float sigmoid(float a) {
    float e = expf(-fabsf(a));
    return (a >= 0.0f ? 1.0f : e) / (1.0f + e);
}

INLINE float tanh_derivative(float h) { return 1.0f - h * h; }
INLINE float sigmoid_derivative(float h) { return h * (1.0f - h); }

// d, or zero where it is so small that it would soon be a subnormal number.
INLINE float flushed(float d) { return fabsf(d) < 1e-30f ? 0.0f : d; }

template <int KIND>
INLINE float activation(float a) {
    if (KIND == TANH) return tanhf(a);
    if (KIND == SIGMOID) return sigmoid(a);
    if (KIND == RELU) return a <= 0.0f ? 0.0f : a;
    return a;
}

template <int KIND>
INLINE float activation_derivative(float h) {
    if (KIND == TANH) return tanh_derivative(h);
    if (KIND == SIGMOID) return sigmoid_derivative(h);
    if (KIND == RELU) return h > 0.0f ? 1.0f : 0.0f * h;
    return 1.0f;
}
