// An encoder with its repacked weights, threads and workspaces.
#pragma once

#include <vector>

#include "isa.h"
#include "loader.h"
#include "workspace_pool.h"

namespace wheatear {

class Encoder {
  public:
    // Reads the tensors in the order of `load` in encoder.cpp. Throws std::invalid_argument if they
    // do not fit the shape.
    Encoder(const EncoderShape& shape, const Tensor* tensors, int count, const Isa& isa,
            int threads);

    // Safe to call from many threads: one of them uses the thread pool, the others only their own
    // thread. Throws std::invalid_argument for a batch that does not fit the encoder.
    void step(const Batch& batch);

  private:
    const Isa& isa_;
    EncoderModel model_;
    std::vector<Layer> layers_;
    Memory memory_;
    ThreadPool pool_;
    WorkspacePool<Workspace> workspaces_;
};

}  // namespace wheatear
