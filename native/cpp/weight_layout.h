// Memory layout of weights and activations, the same for every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wheatear {

constexpr int BLOCK = 32;         // inputs that share a scale
constexpr int TILE = 16;          // outputs computed together
constexpr int LINE = 64;          // bytes of a cache line, and of TILE outputs times four inputs
constexpr int SCALES = 2 * TILE;  // bytes of the scales of TILE outputs

// Small functions are compiled for every instruction set (see isa_kernels.cpp). They are always
// inlined, so that the linker has no copies to choose from.
#define WHEATEAR_INLINE __attribute__((always_inline))

WHEATEAR_INLINE constexpr int rounded_up(int n, int to) { return (n + to - 1) / to * to; }

// A linear layer. Tiles of 16 outputs follow each other, each with all its inputs in order.
//   32 bits      for every input, 16 floats
//   4, 8 bits    for every block of 32 inputs, 16 float16 scales, and then the codes in lines of
//                64 bytes: byte 4 o + i of a line is for output o and input i of four; with 4 bits
//                the low half is for that input, the high half for the one four inputs later
// Padding after the last output or input is zero.
struct Linear {
    int bits = 0;
    int inputs = 0, outputs = 0;
    const uint8_t* weights = nullptr;
    const float* bias = nullptr;  // [padded outputs]; null for no bias

    WHEATEAR_INLINE int blocks() const { return rounded_up(inputs, BLOCK) / BLOCK; }
    WHEATEAR_INLINE int tiles() const { return rounded_up(outputs, TILE) / TILE; }
    WHEATEAR_INLINE size_t block_bytes() const { return SCALES + size_t(TILE) * BLOCK * bits / 8; }
    WHEATEAR_INLINE size_t tile_bytes() const {
        return bits == 32 ? sizeof(float) * TILE * inputs : block_bytes() * blocks();
    }
    WHEATEAR_INLINE size_t bytes() const { return tile_bytes() * tiles(); }
};

// Rows of activations in 8 bits with a scale for each row and block, padded to whole blocks.
struct QuantizedRows {
    int8_t* codes = nullptr;         // [rows, blocks, BLOCK]
    float* scales = nullptr;         // [rows, blocks]
    int32_t* corrections = nullptr;  // [rows, blocks], see simd.h
};

}  // namespace wheatear
