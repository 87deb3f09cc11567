#include "api.h"

#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>

using namespace wheatear;

int32_t wheatear_abi(void) { return WHEATEAR_ABI; }

const char* wheatear_instruction_set(int32_t n) {
    for (const Isa* const* isa = instruction_sets; *isa; ++isa)
        if ((*isa)->is_supported() && n-- == 0) return (*isa)->name;
    return nullptr;
}

namespace {

// Returns call(), or zero and a message in `error` if it throws.
template <class Call>
auto attempt(char* error, int32_t error_size, Call call) -> decltype(call()) {
    try {
        return call();
    } catch (const std::exception& failure) {
        std::snprintf(error, error_size, "%s", failure.what());
        return {};
    }
}

const Isa& require_isa(const char* name) {
    const Isa* found = find_isa(name);
    if (!found) throw std::runtime_error("this machine does not support that instruction set");
    return *found;
}

}  // namespace

Encoder* wheatear_open(const EncoderShape* shape, const Tensor* tensors, int32_t count,
                       const char* isa, int32_t threads, char* error, int32_t error_size) {
    return attempt(error, error_size,
                   [&] { return new Encoder(*shape, tensors, count, require_isa(isa), threads); });
}

void wheatear_close(Encoder* encoder) { delete encoder; }

int32_t wheatear_step(Encoder* encoder, const Batch* batch, char* error, int32_t error_size) {
    return attempt(error, error_size, [&] { return encoder->step(*batch), 1; });
}

Decoder* wheatear_open_decoder(const DecoderShape* shape, const Tensor* tensors, int32_t count,
                               const char* isa, int32_t threads, char* error, int32_t error_size) {
    return attempt(error, error_size,
                   [&] { return new Decoder(*shape, tensors, count, require_isa(isa), threads); });
}

void wheatear_close_decoder(Decoder* decoder) { delete decoder; }

int32_t wheatear_predict(Decoder* decoder, const PredictorRun* run, char* error,
                         int32_t error_size) {
    return attempt(error, error_size, [&] { return decoder->predict(*run), 1; });
}

int32_t wheatear_join(Decoder* decoder, const JointRun* run, char* error, int32_t error_size) {
    return attempt(error, error_size, [&] { return decoder->join(*run), 1; });
}

double wheatear_linear(const Tensor* weight, const float* bias, const float* x, int32_t rows,
                       const char* isa, int32_t threads, int32_t repeats, float* out) {
    const Isa* found = find_isa(isa);
    if (!found || !is_matrix(*weight) || rows < 1) return -1;
    try {
        ThreadPool pool(threads);
        Linear linear = layer_of(*weight);
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
        QuantizedRows quantized;
        quantized.codes = static_cast<int8_t*>(memory.take(size_t(rows) * blocks * BLOCK));
        quantized.scales = static_cast<float*>(memory.take(sizeof(float) * rows * blocks));
        quantized.corrections = static_cast<int32_t*>(memory.take(sizeof(int32_t) * rows * blocks));
        auto* result = static_cast<float*>(memory.take(sizeof(float) * padded * size_t(rows)));
        double fastest = 1e9;
        for (int i = 0; i < repeats; ++i) {
            const auto begin = std::chrono::steady_clock::now();
            found->linear_layer(linear, x, rows, quantized, result, &pool);
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
