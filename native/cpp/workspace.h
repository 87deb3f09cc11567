// Buffers that are reused by all steps.
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <new>

#include "model.h"

namespace wheatear {

// Rows of floats; each row begins at a cache line.
struct Table {
    float* values = nullptr;
    int stride = 0;

    WHEATEAR_INLINE float* row(int r) const { return values + size_t(r) * stride; }
};

// Zeroed memory, aligned to cache lines, on huge pages where possible.
class Memory {
  public:
    Memory() = default;
    ~Memory() { std::free(allocated_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    // Allocates `bytes` zero bytes and discards the previous content.
    void reserve(size_t bytes);
    // Returns the next `bytes` bytes.
    void* take(size_t bytes) {
        void* at = start_ + used_;
        used_ += (bytes + LINE - 1) / LINE * LINE;
        return at;
    }
    void reuse() { used_ = 0; }
    size_t size() const { return size_; }

  private:
    void* allocated_ = nullptr;
    char* start_ = nullptr;
    size_t size_ = 0, used_ = 0;
};

// Intermediate values of an encoder step, sized for the largest batch yet.
struct Workspace {
    Table first;       // [rows of the first convolution, bands * channels]
    Table second;      // [rows of the second, bands * channels]
    Table subsampled;  // [frames, channels * bands]
    Table frames;      // [frames, width]: input and output of the layers
    Table wide;        // [frames, largest output of a matmul]
    Table narrow;      // [frames, width]
    Table gated;       // [frames, width]
    Table scratch;     // [threads, temporary values of a thread]
    QuantizedRows quantized;

    void fit(const EncoderShape& shape, const Batch& batch, int threads);

  private:
    Memory memory_;
};

// Intermediate values of predictor and joint, sized for the largest run yet.
struct DecoderWorkspace {
    Table input;  // [rows, largest input of a matmul]
    Table gates;  // [rows, 4 * hidden or joint]
    QuantizedRows quantized;

    void fit(const DecoderShape& shape, int rows);

  private:
    Memory memory_;
};

}  // namespace wheatear
