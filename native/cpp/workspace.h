// Memory that is used again and again.
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <new>

#include "model.h"

namespace wheatear {

// Rows of floats, each row on cache lines of its own.
struct Table {
    float* values = nullptr;
    int stride = 0;

    WHEATEAR_INLINE float* row(int r) const { return values + size_t(r) * stride; }
};

// Zeroed memory on cache lines; large pieces on huge pages where there are any.
class Memory {
  public:
    Memory() = default;
    ~Memory() { std::free(held_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    // Makes room for so many bytes, all zero; what was there is lost.
    void reserve(size_t bytes);
    // The next so many bytes of it.
    void* take(size_t bytes) {
        void* at = start_ + used_;
        used_ += (bytes + LINE - 1) / LINE * LINE;
        return at;
    }
    void reuse() { used_ = 0; }
    size_t size() const { return size_; }

  private:
    void* held_ = nullptr;
    char* start_ = nullptr;
    size_t size_ = 0, used_ = 0;
};

// What a step needs between its parts, for batches up to the largest one yet.
struct Workspace {
    Table first;       // [rows of the first convolution, bands * channels]
    Table second;      // [rows of the second, bands * channels]
    Table subsampled;  // [frames, channels * bands]
    Table frames;      // [frames, width]: what goes from layer to layer
    Table wide;        // [frames, most outputs of a product]
    Table narrow;      // [frames, width]
    Table gated;       // [frames, width]
    Table scratch;     // [threads, most a thread needs for itself]
    Quantised quantised;

    void fit(const Shape& shape, const Batch& batch, int threads);

  private:
    Memory memory_;
};

// What a run of the predictor or the joint needs, for as many rows as there ever were.
struct DecoderWorkspace {
    Table input;  // [rows, most inputs of a product]
    Table gates;  // [rows, 4 * hidden or joint]
    Quantised quantised;

    void fit(const DecoderShape& shape, int rows);

  private:
    Memory memory_;
};

}  // namespace wheatear
