#include "loader.h"

namespace wheatear {
namespace {

void pack_32(const Tensor& weight, int tile, float* to) {
    const auto* from = static_cast<const float*>(weight.data);
    for (int i = 0; i < weight.inputs; ++i)
        for (int o = tile * TILE; o < (tile + 1) * TILE; ++o)
            *to++ = o < weight.outputs ? from[size_t(i) * weight.outputs + o] : 0.0f;
}

// Copies a block of 32 codes of one output into its tile.
void pack_block(const uint8_t* from, int bits, uint8_t* to) {
    if (bits == 8) {
        for (int i = 0; i < BLOCK; i += 4, to += LINE) std::memcpy(to, from + i, 4);
        return;
    }
    for (int i = 0; i < BLOCK; i += 8, from += 4, to += LINE)
        for (int pair = 0; pair < 2;
             ++pair) {  // inputs 2 pair, 2 pair + 1, and those 4 inputs later
            const uint8_t near = from[pair], far = from[pair + 2];
            to[2 * pair] = uint8_t((near & 15) | far << 4);
            to[2 * pair + 1] = uint8_t(near >> 4 | (far & 240));
        }
}

// The memory is zero, which is the padding after the last output.
void pack_codes(const Tensor& weight, const Linear& linear, int tile, uint8_t* to) {
    const auto* codes = static_cast<const uint8_t*>(weight.data);
    for (int b = 0; b < linear.blocks(); ++b, to += linear.block_bytes()) {
        for (int o = 0; o < TILE && tile * TILE + o < weight.outputs; ++o) {
            const size_t block = size_t(tile * TILE + o) * linear.blocks() + b;
            std::memcpy(to + sizeof(uint16_t) * o, weight.scales + block, sizeof(uint16_t));
            pack_block(codes + block * BLOCK * weight.bits / 8, weight.bits, to + SCALES + 4 * o);
        }
    }
}

}  // namespace

Linear layer_of(const Tensor& weight) {
    Linear linear;
    linear.bits = weight.bits;
    linear.inputs = weight.inputs;
    linear.outputs = weight.outputs;
    return linear;
}

void pack(const Tensor& weight, Linear& linear, uint8_t* to, ThreadPool& pool) {
    linear.weights = to;
    auto work = [&](int tile) {
        uint8_t* at = to + tile * linear.tile_bytes();
        if (weight.bits == 32)
            pack_32(weight, tile, reinterpret_cast<float*>(at));
        else
            pack_codes(weight, linear, tile, at);
    };
    pool.run(
        linear.tiles(),
        [](void* job, int tile, int) { (*static_cast<decltype(work)*>(job))(tile); }, &work);
}

}  // namespace wheatear
