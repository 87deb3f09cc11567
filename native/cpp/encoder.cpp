#include "encoder.h"

#include <stdexcept>

#include "bounds.h"

namespace wheatear {
namespace {

const EncoderShape& checked(const EncoderShape& shape) {
    check(shape);
    return shape;
}

void load(Loader& from, EncoderModel& m) {
    const EncoderShape& s = m.shape;
    m.convolution0 = from.depthwise(9, s.channels);
    m.convolution2 = from.depthwise(9, s.channels);
    m.convolution3 = from.linear(s.channels, s.channels);
    m.convolution5 = from.depthwise(9, s.channels);
    m.convolution6 = from.linear(s.channels, s.channels);
    m.subsampled = from.linear(s.channels * s.bands_after(3), s.width);
    for (int i = 0; i < s.layers; ++i) {
        Layer& layer = m.layers[i];
        layer.first = from.feed_forward(s);
        layer.attention_norm = from.norm(s.width);
        layer.qkv = from.linear(s.width, 3 * s.width);
        layer.content_bias = from.vector(s.width);
        layer.position_bias = from.vector(s.width);
        layer.positions = from.vector(int64_t(s.offsets()) * s.width);
        layer.attention_out = from.linear(s.width, s.width);
        layer.convolution_norm = from.norm(s.width);
        layer.pointwise_in = from.linear(s.width, 2 * s.width);
        layer.depthwise = from.depthwise(s.kernel, s.width);
        layer.depthwise_norm = from.optional_norm(s.width);
        layer.pointwise_out = from.linear(s.width, s.width);
        layer.second = from.feed_forward(s);
        layer.out_norm = from.norm(s.width);
    }
    if (s.prompt) {
        m.prompt_in = from.linear(s.width, s.prompt);
        m.prompt_out = from.linear(s.prompt, s.width);
    }
    m.joint = from.linear(s.width, s.joint);
}

}  // namespace

Encoder::Encoder(const EncoderShape& shape, const Tensor* tensors, int count, const Isa& isa,
                 int threads)
    : isa_(isa), layers_(checked(shape).layers), pool_(threads) {
    model_.shape = shape;
    model_.layers = layers_.data();
    load_into(memory_, tensors, count, pool_, [this](Loader& from) { load(from, model_); });
}

void Encoder::step(const Batch& batch) {
    const EncoderShape& s = model_.shape;
    if (batch.count < 1 || batch.frames < 1 || batch.chunk < 1 || batch.frames % batch.chunk ||
        batch.chunk > s.longest_chunk)
        throw std::invalid_argument("the encoder does not support this number of frames or chunks");
    // The first convolution has the most rows and units of work.
    check_rows(int64_t(batch.count) * (4 * int64_t(batch.frames) + 3),
               int64_t(s.bands_after(1)) * s.padded_channels());
    check_rows(int64_t(batch.count) * batch.frames,
               3 * int64_t(s.width) + s.feed_forward + s.prompt);
    for (int b = 0; b < batch.count; ++b)
        if (batch.streams[b].left < 0 || batch.streams[b].left > s.left ||
            batch.streams[b].start < 0)
            throw std::invalid_argument("the left context exceeds that of the encoder");
    std::unique_ptr<Workspace> work = workspaces_.acquire();
    work->fit(s, batch, pool_.threads());
    {
        std::unique_lock lock(pool_.in_use, std::try_to_lock);
        isa_.step(model_, batch, *work, lock ? &pool_ : nullptr);
    }
    workspaces_.release(std::move(work));
}

}  // namespace wheatear
