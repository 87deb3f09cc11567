// A predictor and a joint with their repacked weights, threads and workspaces.
#pragma once

#include <vector>

#include "isa.h"
#include "loader.h"
#include "workspace_pool.h"

namespace wheatear {

// Safe to use from many threads, like Encoder.
class Decoder {
  public:
    // Reads the tensors in the order of `load` in decoder.cpp. Throws std::invalid_argument if they
    // do not fit the shape.
    Decoder(const DecoderShape& shape, const Tensor* tensors, int count, const Isa& isa,
            int threads);

    void predict(const PredictorRun& run);
    void join(const JointRun& run);

  private:
    template <class Run>
    void with_workspace(int rows, Run run);

    const Isa& isa_;
    DecoderModel model_;
    std::vector<Linear> lstm_;
    Memory memory_;
    ThreadPool pool_;
    WorkspacePool<DecoderWorkspace> workspaces_;
};

}  // namespace wheatear
