// Reads weights in the layout of a bundle's graph and packs them for matmul.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

#include "thread_pool.h"
#include "workspace.h"

namespace wheatear {

// A tensor in the layout of a bundle's graph. With 32 bits a vector or a matrix [inputs, outputs];
// with 4 or 8 bits codes [outputs, blocks, 32 * bits / 8] and scales [outputs, blocks]. The earlier
// of two 4-bit codes is in the lower half of a byte.
struct Tensor {
    const void* data;
    const uint16_t* scales;         // float16
    int32_t bits, inputs, outputs;  // inputs: 1 for a vector
};

// True for a matrix of one of the kinds above, with data.
inline bool is_matrix(const Tensor& weight) {
    const bool codes = weight.bits == 8 || weight.bits == 4;
    return weight.data && weight.inputs > 0 && weight.outputs > 0 &&
           (weight.bits == 32 || (codes && weight.scales));
}

// Returns the layer of a weight, without pointers; its bytes() is the size after packing.
Linear layer_of(const Tensor& weight);
// Packs a weight into `to` (see Linear).
void pack(const Tensor& weight, Linear& linear, uint8_t* to, ThreadPool& pool);

// Reads tensors in order. It runs twice: first to count the bytes, then to copy into memory.
class Loader {
  public:
    Loader(const Tensor* tensors, int count, ThreadPool& pool)
        : tensors_(tensors), count_(count), pool_(pool) {}

    size_t bytes() const { return bytes_; }
    void place_in(Memory& memory) {
        memory_ = &memory;
        next_ = 0;
    }
    void finish() const {
        if (next_ != count_) throw std::invalid_argument("there are more tensors than layers");
    }

    const float* vector(int64_t length) {
        const Tensor& tensor = next();
        check(tensor.data && tensor.bits == 32 && tensor.inputs > 0 && tensor.outputs > 0 &&
              int64_t(tensor.outputs) * tensor.inputs == length);
        return copy(tensor, length);
    }

    // Returns null for a tensor without data, which the model does not have.
    const float* optional(int64_t length) {
        if (next_ < count_ && !tensors_[next_].data) return ++next_, nullptr;
        return vector(length);
    }

    Linear linear(int inputs, int outputs) {
        const Tensor& weight = next();
        check(is_matrix(weight) && weight.inputs == inputs && weight.outputs == outputs);
        Linear linear = layer_of(weight);
        if (auto* to = static_cast<uint8_t*>(take(linear.bytes()))) pack(weight, linear, to, pool_);
        linear.bias = optional(outputs);
        return linear;
    }

    Depthwise depthwise(int taps, int channels) {
        Depthwise result;
        result.taps = vector(taps * channels);
        result.bias = vector(channels);
        return result;
    }

    Norm norm(int width) {
        Norm result;
        result.gain = vector(width);
        result.shift = vector(width);
        return result;
    }

    Norm optional_norm(int width) {
        Norm result;
        result.gain = optional(width);
        result.shift = optional(width);
        check(!result.gain == !result.shift);
        return result;
    }

    FeedForward feed_forward(const EncoderShape& s) {
        FeedForward result;
        result.norm = norm(s.width);
        result.in = linear(s.width, s.feed_forward);
        result.out = linear(s.feed_forward, s.width);
        return result;
    }

  private:
    const Tensor& next() {
        if (next_ == count_) throw std::invalid_argument("there are fewer tensors than layers");
        return tensors_[next_++];
    }
    void check(bool fits) const {
        if (!fits)
            throw std::invalid_argument("tensor " + std::to_string(next_ - 1) +
                                        " does not have the shape of its layer");
    }
    void* take(size_t bytes) {
        if (memory_) return memory_->take(bytes);
        bytes_ += (bytes + LINE - 1) / LINE * LINE;
        return nullptr;
    }
    const float* copy(const Tensor& tensor, int64_t length) {
        const size_t padded = size_t(length + TILE - 1) / TILE * TILE;
        void* to = take(sizeof(float) * padded);
        if (to) std::memcpy(to, tensor.data, sizeof(float) * size_t(length));
        return static_cast<const float*>(to);
    }

    const Tensor* const tensors_;
    const int count_;
    ThreadPool& pool_;
    Memory* memory_ = nullptr;
    int next_ = 0;
    size_t bytes_ = 0;
};

// Reads all tensors with load(loader) into memory of the right size.
template <class Load>
void load_into(Memory& memory, const Tensor* tensors, int count, ThreadPool& pool, Load load) {
    Loader loader(tensors, count, pool);
    load(loader);
    loader.finish();
    // Prefetching reads past the last weight.
    memory.reserve(loader.bytes() + 4096);
    loader.place_in(memory);
    load(loader);
}

}  // namespace wheatear
