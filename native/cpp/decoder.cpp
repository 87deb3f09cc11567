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

Decoder::Decoder(const DecoderShape& shape, const Tensor* tensors, int count, const Path& path,
                 int threads)
    : path_(path), lstm_(checked(shape).layers), pool_(threads) {
    model_.shape = shape;
    model_.lstm = lstm_.data();
    load_into(memory_, tensors, count, pool_, [this](Loader& from) { load(from, model_); });
}

void Decoder::predict(const Prediction& run) {
    on_threads(run.rows, [&](const DecoderWorkspace& work, Pool* pool) {
        path_.predict(model_, run, work, pool);
    });
}

void Decoder::join(const Question& run) {
    on_threads(run.rows, [&](const DecoderWorkspace& work, Pool* pool) {
        path_.join(model_, run, work, pool);
    });
}

template <class Run>
void Decoder::on_threads(int rows, Run run) {
    const DecoderShape& s = model_.shape;
    check_rows(rows, 4 * int64_t(s.hidden) + s.joint + s.outputs);
    std::unique_ptr<DecoderWorkspace> work = spares_.borrow();
    work->fit(model_.shape, rows);
    {
        std::unique_lock lock(pool_.in_use, std::try_to_lock);
        run(*work, lock ? &pool_ : nullptr);
    }
    spares_.give_back(std::move(work));
}

}  // namespace wheatear
