// Product of activations and weights, for one instruction set.
//
// A tile of 16 outputs is multiplied with a few rows at a time, so that the sums stay in registers
// and each weight is unpacked once for these rows. The result of a row does not depend on the
// number of rows: its blocks are summed exactly in integers and added in order.
#pragma once

#include "simd.h"

namespace wheatear {
namespace WHEATEAR_ISA {

// Prefetches weights some KB ahead, so that memory is never idle. A single row computes little with
// each weight and needs it in the L1 cache. Several rows compute enough to hide the L2 cache's
// latency, which leaves the L1 cache to the activations.
template <int rows>
inline void prefetch(const uint8_t* weights) {
    if constexpr (rows == 1)
        __builtin_prefetch(weights + 8192);
    else
        __builtin_prefetch(weights + 12288, 0, 2);
}

// Sums a block for some rows and `vectors_at_once` vectors of outputs, beginning with `first`.
template <int bits, int rows>
inline void sum_block(const uint8_t* lines, int first, const int8_t* x, int stride,
                      Sum<bits> (&sums)[rows][vectors_at_once<bits>]) {
#pragma GCC unroll 8
    for (int input = 0; input < BLOCK; input += 4) {
        Codes<bits> w[vectors_at_once<bits>];
        for (int v = 0; v < vectors_at_once<bits>; ++v) {
            if constexpr (bits == 4)
                w[v] = codes4(lines + input / 8 * LINE, first + v, input % 8 != 0);
            else
                w[v] = codes8(lines + input / 4 * LINE, first + v);
        }
        for (int r = 0; r < rows; ++r) {
            Activations four = activations(x + r * stride + input);
            for (int v = 0; v < vectors_at_once<bits>; ++v) sums[r][v].add(w[v], four);
        }
    }
}

template <int bits, int rows>
void matmul_quantized(const Linear& linear, int tile, const QuantizedRows& x, int row, float* out,
                      int stride) {
    constexpr int block_bytes = SCALES + TILE * BLOCK * bits / 8;
    const int blocks = linear.blocks();
    const uint8_t* weights =
        linear.weights + tile * linear.tile_bytes();  // of each block the scales come first
    const int8_t* codes = x.codes + size_t(row) * blocks * BLOCK;
    const float* scales = x.scales + size_t(row) * blocks;
    const int32_t* corrections = x.corrections + size_t(row) * blocks;
    alignas(LINE) float result[rows][TILE];
    for (int r = 0; r < rows; ++r)
        for (int o = 0; o < TILE; ++o)
            result[r][o] = linear.bias ? linear.bias[tile * TILE + o] : 0;

    for (int b = 0; b < blocks; ++b, weights += block_bytes) {
        for (int line = 0; line < block_bytes; line += LINE) prefetch<rows>(weights + line);
        for (int first = 0; first < VECTORS; first += vectors_at_once<bits>) {
            Sum<bits> sums[rows][vectors_at_once<bits>];
            for (int r = 0; r < rows; ++r)
                for (auto& sum : sums[r]) sum.begin(corrections[r * blocks + b]);
            sum_block<bits, rows>(weights + SCALES, first, codes + b * BLOCK, blocks * BLOCK, sums);
            for (int r = 0; r < rows; ++r) {
                Floats scale = broadcast(scales[r * blocks + b]);
                for (int v = 0; v < vectors_at_once<bits>; ++v) {
                    const int output = (first + v) * LANES;
                    const auto* of_weights = reinterpret_cast<const uint16_t*>(weights) + output;
                    Floats both = multiply(load_half(of_weights), scale);
                    float* to = result[r] + output;
                    store(to, multiply_add(sums[r][v].total(), both, load(to)));
                }
            }
        }
    }
    for (int r = 0; r < rows; ++r)
        std::memcpy(out + size_t(row + r) * stride + tile * TILE, result[r], sizeof result[r]);
}

// The same with float weights: inputs are added in order.
template <int rows>
void matmul_float(const Linear& linear, int tile, const float* x, int x_stride, float* out,
                  int stride) {
    const float* weights =
        reinterpret_cast<const float*>(linear.weights) + size_t(tile) * TILE * linear.inputs;
    Floats sums[rows][VECTORS];
    for (auto& row : sums)
        for (int v = 0; v < VECTORS; ++v)
            row[v] = linear.bias ? load(linear.bias + tile * TILE + v * LANES) : broadcast(0);
    for (int i = 0; i < linear.inputs; ++i, weights += TILE) {
        prefetch<rows>(reinterpret_cast<const uint8_t*>(weights));
        for (int r = 0; r < rows; ++r) {
            Floats four = broadcast(x[size_t(r) * x_stride + i]);
            for (int v = 0; v < VECTORS; ++v)
                sums[r][v] = multiply_add(four, load(weights + v * LANES), sums[r][v]);
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int v = 0; v < VECTORS; ++v)
            store(out + size_t(r) * stride + tile * TILE + v * LANES, sums[r][v]);
}

struct Rows {
    const float* values;  // [count, stride]: input of a layer with 32 bits
    int stride;
    QuantizedRows quantized;  // input of the other layers
    int count;
};

template <int bits, int rows>
void matmul_group(const Linear& linear, int tile, const Rows& x, int row, int count, float* out,
                  int stride) {
    if constexpr (rows > 0) {
        if (count < rows)
            return matmul_group<bits, rows - 1>(linear, tile, x, row, count, out, stride);
        if constexpr (bits == 32)
            matmul_float<rows>(linear, tile, x.values + size_t(row) * x.stride, x.stride,
                               out + size_t(row) * stride, stride);
        else
            matmul_quantized<bits, rows>(linear, tile, x.quantized, row, out, stride);
    }
}

template <int bits>
void matmul_groups(const Linear& linear, int tile, const Rows& x, float* out, int stride) {
    const int groups = (x.count + max_rows<bits> - 1) / max_rows<bits>;
    for (int row = 0, g = 0; g < groups; ++g) {  // of nearly equal sizes
        const int count = (x.count - row + groups - g - 1) / (groups - g);
        matmul_group<bits, max_rows<bits>>(linear, tile, x, row, count, out, stride);
        row += count;
    }
}

// Computes one tile of outputs into out [rows, stride].
inline void matmul_tile(const Linear& linear, int tile, const Rows& x, float* out, int stride) {
    switch (linear.bits) {
        case 4:
            return matmul_groups<4>(linear, tile, x, out, stride);
        case 8:
            return matmul_groups<8>(linear, tile, x, out, stride);
        default:
            return matmul_groups<32>(linear, tile, x, out, stride);
    }
}

}  // namespace WHEATEAR_ISA
}  // namespace wheatear
