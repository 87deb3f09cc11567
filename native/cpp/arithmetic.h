// Functions of one row between the matrix products: norms, activations, softmax, quantization.
//
// The order of additions depends only on the length of the row.
#pragma once

#include "model.h"
#include "simd.h"

namespace wheatear {
namespace WHEATEAR_ISA {

// Accurate to 2 units in the last place.
inline float exponential(float x) {
    constexpr float to_integer = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    x = x > -87.0f ? x : -87.0f;
    x = x < 88.0f ? x : 88.0f;
    const float n = (x * 1.44269504f + to_integer) - to_integer;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t power = (int32_t(n) + 127) << 23;
    float scale;
    std::memcpy(&scale, &power, 4);
    return p * scale;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

inline float tanh(float x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

inline float sum_of_lanes(Floats v) {
    float lanes[LANES];
    store(lanes, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

inline float sum(const float* x, int n) {
    Floats lanes = broadcast(0);
    int i = 0;
    for (; i + LANES <= n; i += LANES) lanes = plus(load(x + i), lanes);
    float total = sum_of_lanes(lanes);
    for (; i < n; ++i) total += x[i];
    return total;
}

// Returns a . b + c . d, in four independent chains of additions.
inline float dot_both(const float* a, const float* b, const float* c, const float* d, int n) {
    Floats first = broadcast(0), second = broadcast(0), third = broadcast(0), fourth = broadcast(0);
    int i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        first = multiply_add(load(a + i), load(b + i), first);
        second = multiply_add(load(c + i), load(d + i), second);
        third = multiply_add(load(a + i + LANES), load(b + i + LANES), third);
        fourth = multiply_add(load(c + i + LANES), load(d + i + LANES), fourth);
    }
    float total = sum_of_lanes(plus(plus(first, second), plus(third, fourth)));
    for (; i < n; ++i) total += a[i] * b[i] + c[i] * d[i];
    return total;
}

inline float sum_of_squares(const float* x, float mean, int n) {
    Floats lanes = broadcast(0), shift = broadcast(-mean);
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        Floats difference = plus(load(x + i), shift);
        lanes = multiply_add(difference, difference, lanes);
    }
    float total = sum_of_lanes(lanes);
    for (; i < n; ++i) total += (x[i] - mean) * (x[i] - mean);
    return total;
}

// LayerNorm; `out` may be `x`.
inline void layer_norm(const float* x, Norm norm, int n, float* out) {
    const float mean = sum(x, n) / float(n);
    const float scale = 1.0f / std::sqrt(sum_of_squares(x, mean, n) / float(n) + 1e-5f);
    for (int i = 0; i < n; ++i) out[i] = (x[i] - mean) * scale * norm.gain[i] + norm.shift[i];
}

inline void add(const float* x, int n, float* to) {
    for (int i = 0; i < n; ++i) to[i] += x[i];
}

inline void silu(float* x, int n) {
    for (int i = 0; i < n; ++i) x[i] = x[i] * sigmoid(x[i]);
}

inline void relu(float* x, int n) {
    for (int i = 0; i < n; ++i) x[i] = x[i] > 0 ? x[i] : 0;
}

inline void glu(const float* value_and_gate, int n, float* out) {
    for (int i = 0; i < n; ++i) out[i] = value_and_gate[i] * sigmoid(value_and_gate[n + i]);
}

inline void softmax(float* scores, int n) {
    float most = scores[0];
    for (int i = 1; i < n; ++i) most = scores[i] > most ? scores[i] : most;
    for (int i = 0; i < n; ++i) scores[i] = exponential(scores[i] - most);
    const float scale = 1.0f / sum(scores, n);
    for (int i = 0; i < n; ++i) scores[i] *= scale;
}

// Quantizes a block of activations to 8 bits: value = code * scale.
inline void quantize_block(const float* x, int8_t* codes, float* scale, int32_t* correction) {
    int32_t most_bits = 0;  // positive floats have the order of their bits
    for (int i = 0; i < BLOCK; ++i) {
        int32_t bits;
        std::memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;
        most_bits = bits > most_bits ? bits : most_bits;
    }
    float most;
    std::memcpy(&most, &most_bits, 4);
    const float inverse = most > 1e-30f ? 127.0f / most : 0.0f;
    for (int i = 0; i < BLOCK; ++i) codes[i] = int8_t(int32_t(std::nearbyint(x[i] * inverse)));
    *scale = inverse > 0 ? most / 127.0f : 0.0f;
    *correction = correction_of(codes);
}

// Quantizes a row of n activations; the last block is padded with zeros.
inline void quantize(const float* x, int n, int row, const QuantizedRows& to) {
    const int blocks = rounded_up(n, BLOCK) / BLOCK;
    int8_t* codes = to.codes + size_t(row) * blocks * BLOCK;
    float* scales = to.scales + size_t(row) * blocks;
    int32_t* corrections = to.corrections + size_t(row) * blocks;
    for (int b = 0; b < blocks; ++b) {
        float filled[BLOCK] = {};
        const float* block = x + b * BLOCK;
        if (n - b * BLOCK < BLOCK) {
            std::memcpy(filled, block, sizeof(float) * (n - b * BLOCK));
            block = filled;
        }
        quantize_block(block, codes + b * BLOCK, scales + b, corrections + b);
    }
}

}  // namespace WHEATEAR_ISA
}  // namespace wheatear
