#include "encoder.h"

#include <cstring>
#include <stdexcept>
#include <string>

namespace wheatear {
namespace {

// Takes the tensors one after the other.  Done twice: once to count the bytes they need, once to
// place them.
class Loader {
  public:
    Loader(const Tensor* tensors, int count, Pool& pool)
        : tensors_(tensors), count_(count), pool_(pool) {}

    size_t bytes() const { return bytes_; }
    void place_in(Memory& memory) {
        memory_ = &memory;
        next_ = 0;
    }
    void finish() const {
        if (next_ != count_) throw std::invalid_argument("there are more tensors than layers");
    }

    const float* vector(int length) {
        const Tensor& tensor = next();
        check(tensor.bits == 32 && tensor.outputs * tensor.inputs == length);
        return copy(tensor, rounded_up(length, TILE));
    }

    // Null where the model has none, which a tensor without data tells.
    const float* optional(int length) {
        if (next_ < count_ && !tensors_[next_].data) return ++next_, nullptr;
        return vector(length);
    }

    Linear linear(int inputs, int outputs) {
        const Tensor& weight = next();
        check((weight.bits == 32 || weight.bits == 8 || weight.bits == 4) &&
              weight.inputs == inputs && weight.outputs == outputs);
        Linear linear = measure(weight);
        if (auto* to = static_cast<uint8_t*>(take(linear.bytes()))) pack(weight, linear, to, pool_);
        linear.bias = optional(outputs);
        return linear;
    }

    Depthwise depthwise(int taps, int channels) {
        Depthwise result;
        result.taps = vector(taps * channels);
        result.bias = vector(channels);
        return result;
    }

    Norm norm(int width) {
        Norm result;
        result.gain = optional(width);
        result.shift = optional(width);
        return result;
    }

    FeedForward feed_forward(const Shape& s) {
        FeedForward result;
        result.norm = norm(s.width);
        result.in = linear(s.width, s.feed_forward);
        result.out = linear(s.feed_forward, s.width);
        return result;
    }

  private:
    const Tensor& next() {
        if (next_ == count_) throw std::invalid_argument("there are fewer tensors than layers");
        return tensors_[next_++];
    }
    void check(bool fits) const {
        if (!fits)
            throw std::invalid_argument("tensor " + std::to_string(next_ - 1) +
                                        " is not of the shape that the layers have");
    }
    void* take(size_t bytes) {
        if (memory_) return memory_->take(bytes);
        bytes_ += (bytes + LINE - 1) / LINE * LINE;
        return nullptr;
    }
    const float* copy(const Tensor& tensor, int padded) {
        void* to = take(sizeof(float) * padded);
        if (to) std::memcpy(to, tensor.data, sizeof(float) * tensor.outputs * tensor.inputs);
        return static_cast<const float*>(to);
    }

    const Tensor* const tensors_;
    const int count_;
    Pool& pool_;
    Memory* memory_ = nullptr;
    int next_ = 0;
    size_t bytes_ = 0;
};

void load(Loader& from, Model& m) {
    const Shape& s = m.shape;
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
        layer.positions = from.vector(s.offsets() * s.width);
        layer.attention_out = from.linear(s.width, s.width);
        layer.convolution_norm = from.norm(s.width);
        layer.pointwise_in = from.linear(s.width, 2 * s.width);
        layer.depthwise = from.depthwise(s.kernel, s.width);
        layer.depthwise_norm = from.norm(s.width);
        layer.pointwise_out = from.linear(s.width, s.width);
        layer.second = from.feed_forward(s);
        layer.out_norm = from.norm(s.width);
    }
    if (s.prompt) {
        m.prompt_in = from.linear(s.width, s.prompt);
        m.prompt_out = from.linear(s.prompt, s.width);
    }
    m.joint = from.linear(s.width, s.joint);
    from.finish();
}

void pack_32(const Tensor& weight, int tile, float* to) {
    const auto* from = static_cast<const float*>(weight.data);
    for (int i = 0; i < weight.inputs; ++i)
        for (int o = tile * TILE; o < (tile + 1) * TILE; ++o)
            *to++ = o < weight.outputs ? from[size_t(i) * weight.outputs + o] : 0.0f;
}

// A block of 32 codes of one output, into its place among those of its tile.
void pack_block(const uint8_t* from, int bits, uint8_t* to) {
    if (bits == 8) {
        for (int i = 0; i < BLOCK; i += 4, to += LINE) std::memcpy(to, from + i, 4);
        return;
    }
    for (int i = 0; i < BLOCK; i += 8, from += 4, to += LINE)
        for (int pair = 0; pair < 2; ++pair) {  // inputs 2 pair, 2 pair + 1, and those 4 further on
            const uint8_t here = from[pair], further = from[pair + 2];
            to[2 * pair] = uint8_t((here & 15) | further << 4);
            to[2 * pair + 1] = uint8_t(here >> 4 | (further & 240));
        }
}

// The memory is zero before, which is what is beyond the last output.
void pack_codes(const Tensor& weight, const Linear& linear, int tile, uint8_t* to) {
    const auto* codes = static_cast<const uint8_t*>(weight.data);
    for (int b = 0; b < linear.blocks(); ++b, to += linear.block_bytes()) {
        for (int o = 0; o < TILE && tile * TILE + o < weight.outputs; ++o) {
            const size_t block = size_t(tile * TILE + o) * linear.blocks() + b;
            std::memcpy(to + sizeof(float) * o, weight.scales + block, sizeof(float));
            pack_block(codes + block * BLOCK * weight.bits / 8, weight.bits, to + LINE + 4 * o);
        }
    }
}

}  // namespace

Linear measure(const Tensor& weight) {
    Linear linear;
    linear.bits = weight.bits;
    linear.inputs = weight.inputs;
    linear.outputs = weight.outputs;
    return linear;
}

void pack(const Tensor& weight, Linear& linear, uint8_t* to, Pool& pool) {
    linear.weights = to;
    auto work = [&](int tile) {
        uint8_t* at = to + tile * linear.tile_bytes();
        if (weight.bits == 32)
            pack_32(weight, tile, reinterpret_cast<float*>(at));
        else
            pack_codes(weight, linear, tile, at);
    };
    pool.run(
        linear.tiles(),
        [](void* job, int tile, int) { (*static_cast<decltype(work)*>(job))(tile); }, &work);
}

Encoder::Encoder(const Shape& shape, const Tensor* tensors, int count, const Path& path,
                 int threads)
    : path_(path), layers_(shape.layers), pool_(threads) {
    model_.shape = shape;
    model_.layers = layers_.data();
    Loader loader(tensors, count, pool_);
    load(loader, model_);
    // What is asked for ahead of the last weight is still ours.
    memory_.reserve(loader.bytes() + 4096);
    loader.place_in(memory_);
    load(loader, model_);
}

void Encoder::step(const Batch& batch) {
    const Shape& s = model_.shape;
    if (batch.count < 1 || batch.frames < 1 || batch.chunk < 1 || batch.frames % batch.chunk ||
        batch.chunk > s.longest_chunk)
        throw std::invalid_argument("the encoder has no such chunks");
    for (int b = 0; b < batch.count; ++b)
        if (batch.streams[b].left < 0 || batch.streams[b].left > s.left ||
            batch.streams[b].start < 0)
            throw std::invalid_argument("the encoder cannot look so far back");
    std::unique_ptr<Workspace> work = borrow();
    work->fit(s, batch, pool_.threads());
    {
        std::unique_lock lock(pool_.in_use, std::try_to_lock);
        path_.step(model_, batch, *work, lock ? &pool_ : nullptr);
    }
    std::lock_guard lock(mutex_);
    idle_.push_back(std::move(work));
}

std::unique_ptr<Workspace> Encoder::borrow() {
    std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<Workspace>();
    std::unique_ptr<Workspace> work = std::move(idle_.back());
    idle_.pop_back();
    return work;
}

}  // namespace wheatear
