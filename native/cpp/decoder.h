// A predictor and a joint: their weights repacked, and all that runs of them need.
#pragma once

#include <vector>

#include "loader.h"
#include "path.h"
#include "spares.h"

namespace wheatear {

// Safe to use from many threads, as an Encoder is.
class Decoder {
  public:
    // Reads the tensors in the order of the network, see `load` in decoder.cpp.  Throws
    // std::invalid_argument if they do not fit the shape.
    Decoder(const DecoderShape& shape, const Tensor* tensors, int count, const Path& path,
            int threads);

    void predict(const Prediction& run);
    void join(const Question& run);

  private:
    template <class Run>
    void on_threads(int rows, Run run);

    const Path& path_;
    DecoderModel model_;
    std::vector<Linear> lstm_;
    Memory memory_;
    Pool pool_;
    Spares<DecoderWorkspace> spares_;
};

}  // namespace wheatear
