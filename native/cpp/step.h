// One step of the encoder, for one instruction set.
//
// A row is a frame of a stream; all rows of the batch go through the products together.  Whatever
// else is computed of a row looks at its own stream alone, in the same order in every batch, so a
// stream, a batch of streams and many chunks of a file come to the same bits.
#pragma once

#include "arithmetic.h"
#include "parallel.h"
#include "workspace.h"

namespace wheatear {
namespace WHEATEAR_PATH {

class Step {
  public:
    Step(const Model& model, const Batch& batch, const Workspace& work, Pool* pool)
        : m(model),
          s(model.shape),
          batch(batch),
          work(work),
          pool(pool),
          rows(batch.count * batch.frames),
          channels(model.shape.padded_channels()) {}

    void run() const {
        subsample();
        for (int i = 0; i < s.layers; ++i) layer(i);
        finish();
    }

  private:
    const Model& m;
    const Shape& s;
    const Batch& batch;
    const Workspace& work;
    Pool* const pool;
    const int rows;
    const int channels;  // from one band to the next

    const Stream& stream_of(int row) const { return batch.streams[row / batch.frames]; }

    // -- products --------------------------------------------------------------------------------

    // Readies a row of activations for a linear layer.
    void ready(const Linear& linear, const Table& x, int row) const {
        if (linear.bits != 32) quantise(x.row(row), linear.inputs, row, work.quantised);
    }

    // out = linear(x), for rows that are ready.
    void multiply(const Linear& linear, const Table& x, const Table& out) const {
        multiply_all(linear, {x.values, x.stride, work.quantised, rows}, out.values, out.stride,
                     pool);
    }

    // -- subsampling -----------------------------------------------------------------------------

    // Three causal convolutions of stride 2 over time and bands, bands before channels in a row.
    void subsample() const {
        const int frames = batch.frames, first = 4 * frames + 3, second = 2 * frames + 1;
        each(pool, batch.count * first, [&](int unit, int) {
            const Stream& stream = batch.streams[unit / first];
            const int row = unit % first;
            convolve_mel(stream.mel + size_t(2 * row) * s.bands, work.first.row(unit));
            mask(stream.live1[row], s.bands_after(1) * channels, work.first.row(unit));
        });
        each(pool, batch.count * second, [&](int unit, int worker) {
            const int b = unit / second, row = unit % second;
            float* out = work.second.row(unit);
            convolve(m.convolution2, m.convolution3, work.first, b * first + 2 * row, 1, worker,
                     out);
            mask(batch.streams[b].live2[row], s.bands_after(2) * channels, out);
        });
        each(pool, rows, [&](int row, int worker) {
            const int b = row / frames, bands = s.bands_after(3);
            float* flat = work.wide.row(row);
            convolve(m.convolution5, m.convolution6, work.second, b * second + 2 * (row % frames),
                     2, worker, flat);
            for (int c = 0; c < s.channels; ++c)
                for (int band = 0; band < bands; ++band)
                    work.subsampled.row(row)[c * bands + band] = flat[band * channels + c];
            ready(m.subsampled, work.subsampled, row);
        });
        multiply(m.subsampled, work.subsampled, work.frames);
    }

    static void mask(float live, int n, float* x) {
        if (live == 0)
            for (int i = 0; i < n; ++i) x[i] = 0;
    }

    // One row of the first convolution and its ReLU, from three rows of mel.
    void convolve_mel(const float* mel, float* out) const {
        const float* taps = m.convolution0.taps;
        for (int band = 0; band < s.bands_after(1); ++band, out += channels) {
            std::memcpy(out, m.convolution0.bias, sizeof(float) * s.channels);
            for (int tap = 0; tap < 9; ++tap) {
                const int from = 2 * band - 2 + tap % 3;
                if (from < 0 || from >= s.bands) continue;
                const float x = mel[tap / 3 * s.bands + from];
                for (int c = 0; c < s.channels; ++c) out[c] += x * taps[tap * s.channels + c];
            }
            relu(out, s.channels);
        }
    }

    // One row of a depthwise convolution, a pointwise one and their ReLU, from rows of x.
    void convolve(const Depthwise& depthwise, const Linear& pointwise, const Table& x, int row,
                  int before, int worker, float* out) const {
        const int bands = s.bands_after(before), bands_out = s.bands_after(before + 1);
        float* mixed = work.scratch.row(worker);
        for (int band = 0; band < bands_out; ++band) {
            float* to = mixed + band * channels;
            std::memcpy(to, depthwise.bias, sizeof(float) * s.channels);
            for (int tap = 0; tap < 9; ++tap) {
                const int from = 2 * band - 2 + tap % 3;
                if (from < 0 || from >= bands) continue;
                const float* in = x.row(row + tap / 3) + from * channels;
                const float* taps = depthwise.taps + tap * s.channels;
                for (int c = 0; c < s.channels; ++c) to[c] += in[c] * taps[c];
            }
        }
        const Rows input{mixed, channels, {}, bands_out};
        for (int tile = 0; tile < pointwise.tiles(); ++tile)
            WHEATEAR_PATH::multiply(pointwise, tile, input, out, channels);
        relu(out, bands_out * channels);
    }

    // -- layers ----------------------------------------------------------------------------------

    void layer(int i) const {
        const Layer& layer = m.layers[i];
        each(pool, rows, [&](int r, int) {
            normalise(work.frames.row(r), layer.first.norm, s.width, work.narrow.row(r));
            ready(layer.first.in, work.narrow, r);
        });
        feed_forward(layer.first);
        each(pool, rows, [&](int r, int) { add_and_ready(r, layer.attention_norm, layer.qkv); });
        attention(layer, i);
        each(pool, rows,
             [&](int r, int) { add_and_ready(r, layer.convolution_norm, layer.pointwise_in); });
        convolution(layer, i);
        each(pool, rows, [&](int r, int) { add_and_ready(r, layer.second.norm, layer.second.in); });
        feed_forward(layer.second);
        each(pool, rows, [&](int r, int) {
            float* x = work.frames.row(r);
            add(work.narrow.row(r), s.width, x);
            normalise(x, layer.out_norm, s.width, x);
        });
    }

    // frames += narrow; narrow = norm(frames), ready for a linear layer.
    void add_and_ready(int r, const Norm& norm, const Linear& next) const {
        add(work.narrow.row(r), s.width, work.frames.row(r));
        normalise(work.frames.row(r), norm, s.width, work.narrow.row(r));
        ready(next, work.narrow, r);
    }

    // From narrow to narrow.
    void feed_forward(const FeedForward& part) const {
        multiply(part.in, work.narrow, work.wide);
        each(pool, rows, [&](int r, int) {
            silu(work.wide.row(r), s.feed_forward);
            ready(part.out, work.wide, r);
        });
        multiply(part.out, work.wide, work.narrow);
    }

    void attention(const Layer& layer, int i) const {
        multiply(layer.qkv, work.narrow, work.wide);
        const int chunks = rows / batch.chunk;
        each(pool, chunks * s.heads, [&](int unit, int worker) {
            const int first = unit / s.heads * batch.chunk, head = unit % s.heads;
            for (int r = first; r < first + batch.chunk; ++r)
                attend(layer, i, head, first, r, worker);
        });
        each(pool, rows, [&](int r, int) { ready(layer.attention_out, work.gated, r); });
        each(pool, batch.count, [&](int b, int) {
            for (int head = 0; head < s.heads; ++head)
                for (int kind = 0; kind < 2; ++kind) remember(i, b, kind, head);
        });
        multiply(layer.attention_out, work.gated, work.narrow);
    }

    // Where a head's keys (kind 0) or values (1) of layer i are, in a stream's ring.
    float* ring(const Stream& stream, int i, int kind, int head) const {
        const size_t place = (size_t(i) * 2 + kind) * s.heads + head;
        return stream.keys_values + place * s.left * s.head_width();
    }

    // Attention of one row and head, over the frames its chunk may look back at and the chunk's
    // own, the oldest first.  Row `first` is the first of the chunk.
    void attend(const Layer& layer, int i, int head, int first, int r, int worker) const {
        const Stream& stream = stream_of(r);
        const int n = s.head_width(), zeroth = r / batch.frames * batch.frames;
        const int64_t begin = stream.start + (first - zeroth);  // of the chunk, in frames
        const int past = int(begin < stream.left ? begin : stream.left);
        const float* query = work.wide.row(r) + head * n;
        float* by_content = work.scratch.row(worker);
        float* by_position = by_content + n;
        float* scores = by_position + n;
        for (int d = 0; d < n; ++d) {
            by_content[d] = query[d] + layer.content_bias[head * n + d];
            by_position[d] = query[d] + layer.position_bias[head * n + d];
        }
        const float* table = layer.positions + size_t(head) * s.offsets() * n;
        const int keys = past + batch.chunk;
        auto place = [&](int kind, int key) -> const float* {  // of the key-th frame seen
            const int64_t frame = begin - past + key;
            if (frame < stream.start) return ring(stream, i, kind, head) + frame % s.left * n;
            const int row = zeroth + int(frame - stream.start);
            return work.wide.row(row) + (1 + kind) * s.width + head * n;
        };
        for (int key = 0; key < keys; ++key) {
            const int offset = past + (r - first) - key + s.longest_chunk - 1;
            scores[key] = dot_both(by_content, place(0, key), by_position, table + offset * n, n);
        }
        soften(scores, keys);
        float* out = work.gated.row(r) + head * n;
        for (int d = 0; d < n; ++d) out[d] = 0;
        for (int key = 0; key < keys; ++key) {
            const float* value = place(1, key);
            for (int d = 0; d < n; ++d) out[d] += scores[key] * value[d];
        }
    }

    // Puts the last new keys or values of one head into the stream's ring.
    void remember(int i, int b, int kind, int head) const {
        const Stream& stream = batch.streams[b];
        const int n = s.head_width();
        float* to = ring(stream, i, kind, head);
        const int kept = batch.frames < s.left ? batch.frames : s.left;
        for (int f = batch.frames - kept; f < batch.frames; ++f) {
            const float* from =
                work.wide.row(b * batch.frames + f) + (1 + kind) * s.width + head * n;
            std::memcpy(to + (stream.start + f) % s.left * n, from, sizeof(float) * n);
        }
    }

    void convolution(const Layer& layer, int i) const {
        multiply(layer.pointwise_in, work.narrow, work.wide);
        each(pool, rows, [&](int r, int) { gate(work.wide.row(r), s.width, work.gated.row(r)); });
        each(pool, rows, [&](int r, int) {
            convolve_causal(layer, i, r);
            silu(work.wide.row(r), s.width);
            ready(layer.pointwise_out, work.wide, r);
        });
        each(pool, batch.count, [&](int b, int) {
            for (int k = 0; k < s.kernel - 1; ++k)
                std::memcpy(batch.streams[b].next_conv + (size_t(i) * (s.kernel - 1) + k) * s.width,
                            convolved(i, b, batch.frames + k), sizeof(float) * s.width);
        });
        multiply(layer.pointwise_out, work.wide, work.narrow);
    }

    // What the causal convolution of layer i reads of stream b: the frames it remembers, then
    // those of this step.
    const float* convolved(int i, int b, int place) const {
        const int kept = s.kernel - 1;
        if (place < kept) return batch.streams[b].conv + (size_t(i) * kept + place) * s.width;
        return work.gated.row(b * batch.frames + place - kept);
    }

    void convolve_causal(const Layer& layer, int i, int r) const {
        float* out = work.wide.row(r);
        std::memcpy(out, layer.depthwise.bias, sizeof(float) * s.width);
        for (int tap = 0; tap < s.kernel; ++tap) {
            const float* x = convolved(i, r / batch.frames, r % batch.frames + tap);
            const float* taps = layer.depthwise.taps + tap * s.width;
            for (int d = 0; d < s.width; ++d) out[d] += x[d] * taps[d];
        }
        if (layer.depthwise_norm.gain) normalise(out, layer.depthwise_norm, s.width, out);
    }

    // -- after the layers ------------------------------------------------------------------------

    void finish() const {
        each(pool, rows, [&](int r, int) {
            write(work.frames, r, s.width, &Stream::hidden);
            if (s.prompt) ready(m.prompt_in, work.frames, r);
        });
        if (s.prompt) {
            multiply(m.prompt_in, work.frames, work.wide);
            each(pool, rows, [&](int r, int) {
                add(stream_of(r).language, s.prompt, work.wide.row(r));
                relu(work.wide.row(r), s.prompt);
                ready(m.prompt_out, work.wide, r);
            });
            multiply(m.prompt_out, work.wide, work.frames);
        }
        each(pool, rows, [&](int r, int) {
            write(work.frames, r, s.width, &Stream::encoded);
            ready(m.joint, work.frames, r);
        });
        multiply(m.joint, work.frames, work.narrow);
        each(pool, rows, [&](int r, int) { write(work.narrow, r, s.joint, &Stream::projected); });
    }

    void write(const Table& x, int r, int n, float* Stream::* to) const {
        std::memcpy(stream_of(r).*to + size_t(r % batch.frames) * n, x.row(r), sizeof(float) * n);
    }
};

}  // namespace WHEATEAR_PATH
}  // namespace wheatear
