// An encoder: its weights repacked, and all that its steps need.
#pragma once

#include <vector>

#include "loader.h"
#include "path.h"
#include "spares.h"

namespace wheatear {

class Encoder {
  public:
    // Reads the tensors in the order of the network, see `load` in encoder.cpp.  Throws
    // std::invalid_argument if they do not fit the shape.
    Encoder(const Shape& shape, const Tensor* tensors, int count, const Path& path, int threads);

    // Safe to call from many threads: one of them at a time has the pool, others compute alone.
    // Throws std::invalid_argument for a batch that the encoder is not made for.
    void step(const Batch& batch);

  private:
    const Path& path_;
    Model model_;
    std::vector<Layer> layers_;
    Memory memory_;
    Pool pool_;
    Spares<Workspace> spares_;
};

}  // namespace wheatear
