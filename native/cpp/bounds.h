// Limits of the sizes of a model; the same as in src/wheatear/model/size_limits.py.
//
// They keep every product of two sizes below 2^31, so that it fits 32 bits. Products of three
// sizes, or with the size of a batch, are computed in 64 bits.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "model.h"

namespace wheatear {

inline void check_size(const char* name, int64_t value, int64_t least, int64_t most) {
    if (value < least || value > most)
        throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) +
                                    ", not from " + std::to_string(least) + " to " +
                                    std::to_string(most));
}

inline void check(const EncoderShape& s) {
    check_size("layers", s.layers, 1, 128);
    check_size("width", s.width, 1, 8192);
    check_size("heads", s.heads, 1, 128);
    check_size("kernel", s.kernel, 1, 256);
    check_size("left", s.left, 1, 4096);
    check_size("longest_chunk", s.longest_chunk, 1, 1024);
    check_size("bands", s.bands, 1, 512);
    check_size("channels", s.channels, 1, 4096);
    check_size("feed_forward", s.feed_forward, 1, 1 << 16);
    check_size("prompt", s.prompt, 0, 1 << 16);
    check_size("joint", s.joint, 1, 8192);
    if (s.width % s.heads) throw std::invalid_argument("the heads do not divide the width");
}

inline void check(const DecoderShape& s) {
    check_size("layers", s.layers, 1, 16);
    check_size("hidden", s.hidden, 1, 8192);
    check_size("joint", s.joint, 1, 8192);
    check_size("outputs", s.outputs, 1, (1 << 20) + 1);
    check_size("activation", s.activation, RELU, SIGMOID);
}

// Checks the number of rows of a run; a row has `each` floats in the largest table.
inline void check_rows(int64_t rows, int64_t each) {
    check_size("rows", rows, 1, 1 << 20);
    check_size("values of a run", rows * each, 1, int64_t(1) << 34);
}

}  // namespace wheatear
