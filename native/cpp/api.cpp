#include "api.h"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>

using namespace wheatear;

int32_t wheatear_abi(void) { return WHEATEAR_ABI; }

const char* wheatear_path(int32_t n) {
    for (const Path* const* path = paths; *path; ++path)
        if ((*path)->runs_here() && n-- == 0) return (*path)->name;
    return nullptr;
}

namespace {

// Calls of(); what it returns, or nothing and why in `error`.
template <class Of>
auto attempt(char* error, int32_t room, Of of) -> decltype(of()) {
    try {
        return of();
    } catch (const std::exception& failure) {
        std::snprintf(error, room, "%s", failure.what());
        return {};
    }
}

const Path& path_called(const char* name) {
    const Path* found = find_path(name);
    if (!found) throw std::runtime_error("this machine cannot run that path");
    return *found;
}

}  // namespace

Encoder* wheatear_open(const Shape* shape, const Tensor* tensors, int32_t count, const char* path,
                       int32_t threads, char* error, int32_t room) {
    return attempt(error, room,
                   [&] { return new Encoder(*shape, tensors, count, path_called(path), threads); });
}

void wheatear_close(Encoder* encoder) { delete encoder; }

int32_t wheatear_step(Encoder* encoder, const Batch* batch, char* error, int32_t room) {
    return attempt(error, room, [&] { return encoder->step(*batch), 1; });
}

Decoder* wheatear_open_decoder(const DecoderShape* shape, const Tensor* tensors, int32_t count,
                               const char* path, int32_t threads, char* error, int32_t room) {
    return attempt(error, room,
                   [&] { return new Decoder(*shape, tensors, count, path_called(path), threads); });
}

void wheatear_close_decoder(Decoder* decoder) { delete decoder; }

int32_t wheatear_predict(Decoder* decoder, const Prediction* run, char* error, int32_t room) {
    return attempt(error, room, [&] { return decoder->predict(*run), 1; });
}

int32_t wheatear_join(Decoder* decoder, const Question* run, char* error, int32_t room) {
    return attempt(error, room, [&] { return decoder->join(*run), 1; });
}

double wheatear_product(const Tensor* weight, const float* bias, const float* x, int32_t rows,
                        const char* path, int32_t threads, int32_t repeats, float* out) {
    const Path* found = find_path(path);
    if (!found || !is_matrix(*weight) || rows < 1) return -1;
    try {
        Pool pool(threads);
        Linear linear = measure(*weight);
        const int padded = linear.tiles() * TILE, blocks = linear.blocks();
        Memory memory;
        memory.reserve(linear.bytes() + sizeof(float) * padded * size_t(rows + 1) +
                       size_t(rows) * blocks * (BLOCK + 8) + 16 * LINE);
        pack(*weight, linear, static_cast<uint8_t*>(memory.take(linear.bytes())), pool);
        if (bias) {
            auto* copied = static_cast<float*>(memory.take(sizeof(float) * padded));
            std::memcpy(copied, bias, sizeof(float) * linear.outputs);
            linear.bias = copied;
        }
        Quantised quantised;
        quantised.codes = static_cast<int8_t*>(memory.take(size_t(rows) * blocks * BLOCK));
        quantised.scales = static_cast<float*>(memory.take(sizeof(float) * rows * blocks));
        quantised.corrections = static_cast<int32_t*>(memory.take(sizeof(int32_t) * rows * blocks));
        auto* result = static_cast<float*>(memory.take(sizeof(float) * padded * size_t(rows)));
        double fastest = 1e9;
        for (int i = 0; i < repeats; ++i) {
            const auto begin = std::chrono::steady_clock::now();
            found->product(linear, x, rows, quantised, result, &pool);
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
            fastest = took.count() < fastest ? took.count() : fastest;
        }
        for (int r = 0; r < rows; ++r)
            std::memcpy(out + size_t(r) * linear.outputs, result + size_t(r) * padded,
                        sizeof(float) * linear.outputs);
        return fastest;
    } catch (const std::exception&) {
        return -1;
    }
}
