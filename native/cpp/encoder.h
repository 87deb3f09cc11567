// An encoder: its weights repacked, and all that its steps need.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "path.h"

namespace wheatear {

// A tensor as it comes.  In the layout of a bundle's graph: of 32 bits a vector, or a matrix
// [inputs, outputs]; of 4 or 8 bits codes [outputs, blocks, 32 * bits / 8] with scales [outputs,
// blocks], the earlier of two inputs in the lower half of a byte.
struct Tensor {
    const void* data;
    const float* scales;
    int32_t bits, inputs, outputs;  // inputs: 1 for a vector
};

class Encoder {
  public:
    // Reads the tensors in the order of the network, see `load` in encoder.cpp.  Throws
    // std::invalid_argument if they do not fit the shape.
    Encoder(const Shape& shape, const Tensor* tensors, int count, const Path& path, int threads);

    // Safe to call from many threads: one of them at a time has the pool, others compute alone.
    // Throws std::invalid_argument for a batch that the encoder is not made for.
    void step(const Batch& batch);

  private:
    std::unique_ptr<Workspace> borrow();

    const Path& path_;
    Model model_;
    std::vector<Layer> layers_;
    Memory memory_;
    Pool pool_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Workspace>> idle_;
};

// Bytes of a linear layer once it is packed, and the packing (see Linear).  bias may be null.
Linear measure(const Tensor& weight);
void pack(const Tensor& weight, Linear& linear, uint8_t* to, Pool& pool);

}  // namespace wheatear
