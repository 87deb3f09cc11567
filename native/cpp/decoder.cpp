#include "decoder.h"

#include "bounds.h"

namespace wheatear {
namespace {

const DecoderShape& checked(const DecoderShape& shape) {
    check(shape);
    return shape;
}

void load(Loader& from, DecoderModel& m) {
    const DecoderShape& s = m.shape;
    for (int i = 0; i < s.layers; ++i) m.lstm[i] = from.linear(2 * s.hidden, 4 * s.hidden);
    m.prediction = from.linear(s.hidden, s.joint);
    m.output = from.linear(s.joint, s.outputs);
}

}  // namespace

Decoder::Decoder(const DecoderShape& shape, const Tensor* tensors, int count, const Isa& isa,
                 int threads)
    : isa_(isa), lstm_(checked(shape).layers), pool_(threads) {
    model_.shape = shape;
    model_.lstm = lstm_.data();
    load_into(memory_, tensors, count, pool_, [this](Loader& from) { load(from, model_); });
}

void Decoder::predict(const PredictorRun& run) {
    with_workspace(run.rows, [&](const DecoderWorkspace& work, ThreadPool* pool) {
        isa_.predict(model_, run, work, pool);
    });
}

void Decoder::join(const JointRun& run) {
    with_workspace(run.rows, [&](const DecoderWorkspace& work, ThreadPool* pool) {
        isa_.join(model_, run, work, pool);
    });
}

template <class Run>
void Decoder::with_workspace(int rows, Run run) {
    const DecoderShape& s = model_.shape;
    check_rows(rows, 4 * int64_t(s.hidden) + s.joint + s.outputs);
    std::unique_ptr<DecoderWorkspace> work = workspaces_.acquire();
    work->fit(model_.shape, rows);
    {
        std::unique_lock lock(pool_.in_use, std::try_to_lock);
        run(*work, lock ? &pool_ : nullptr);
    }
    workspaces_.release(std::move(work));
}

}  // namespace wheatear
