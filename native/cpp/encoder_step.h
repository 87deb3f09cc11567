// One step of the encoder, for one instruction set.
//
// A row is a frame of a stream. All rows of the batch are multiplied with the weights together.
// Everything else depends on the row's own stream, in the same order in every batch. A stream, a
// batch of streams and many chunks of a file therefore give the same bits.
#pragma once

#include "arithmetic.h"
#include "parallel_for.h"
#include "workspace.h"

namespace wheatear {
namespace WHEATEAR_ISA {

class Step {
  public:
    Step(const EncoderModel& model, const Batch& batch, const Workspace& work, ThreadPool* pool)
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
    const EncoderModel& m;
    const EncoderShape& s;
    const Batch& batch;
    const Workspace& work;
    ThreadPool* const pool;
    const int rows;
    const int channels;  // padded; distance of two bands

    const Stream& stream_of(int row) const { return batch.streams[row / batch.frames]; }

    // -- matrix products -------------------------------------------------------------------------

    // Quantizes a row of activations for a linear layer, unless it has 32 bits.
    void quantize_input(const Linear& linear, const Table& x, int row) const {
        if (linear.bits != 32) quantize(x.row(row), linear.inputs, row, work.quantized);
    }

    // out = linear(x), after quantize_input of all rows.
    void matmul(const Linear& linear, const Table& x, const Table& out) const {
        WHEATEAR_ISA::matmul(linear, {x.values, x.stride, work.quantized, rows}, out.values,
                             out.stride, pool);
    }

    // -- subsampling -----------------------------------------------------------------------------

    // Three causal convolutions of stride 2 over time and bands; a row is [bands, channels].
    void subsample() const {
        const int frames = batch.frames, first = 4 * frames + 3, second = 2 * frames + 1;
        parallel_for(pool, batch.count * first, [&](int unit, int) {
            const Stream& stream = batch.streams[unit / first];
            const int row = unit % first;
            mel_convolution(stream.mel + size_t(2 * row) * s.bands, work.first.row(unit));
            mask(stream.valid1[row], s.bands_after(1) * channels, work.first.row(unit));
        });
        parallel_for(pool, batch.count * second, [&](int unit, int worker) {
            const int b = unit / second, row = unit % second;
            float* out = work.second.row(unit);
            depthwise_pointwise(m.convolution2, m.convolution3, work.first, b * first + 2 * row, 1,
                                worker, out);
            mask(batch.streams[b].valid2[row], s.bands_after(2) * channels, out);
        });
        parallel_for(pool, rows, [&](int row, int worker) {
            const int b = row / frames, bands = s.bands_after(3);
            float* flat = work.wide.row(row);
            depthwise_pointwise(m.convolution5, m.convolution6, work.second,
                                b * second + 2 * (row % frames), 2, worker, flat);
            for (int c = 0; c < s.channels; ++c)
                for (int band = 0; band < bands; ++band)
                    work.subsampled.row(row)[c * bands + band] = flat[band * channels + c];
            quantize_input(m.subsampled, work.subsampled, row);
        });
        matmul(m.subsampled, work.subsampled, work.frames);
    }

    static void mask(float live, int n, float* x) {
        if (live == 0)
            for (int i = 0; i < n; ++i) x[i] = 0;
    }

    // Computes a row of the first convolution and its ReLU from three rows of mel.
    void mel_convolution(const float* mel, float* out) const {
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

    // Computes a row of a depthwise and a pointwise convolution and their ReLU from rows of x.
    void depthwise_pointwise(const Depthwise& depthwise, const Linear& pointwise, const Table& x,
                             int row, int before, int worker, float* out) const {
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
            matmul_tile(pointwise, tile, input, out, channels);
        relu(out, bands_out * channels);
    }

    // -- layers ----------------------------------------------------------------------------------

    void layer(int i) const {
        const Layer& layer = m.layers[i];
        parallel_for(pool, rows, [&](int r, int) {
            layer_norm(work.frames.row(r), layer.first.norm, s.width, work.narrow.row(r));
            quantize_input(layer.first.in, work.narrow, r);
        });
        feed_forward(layer.first);
        parallel_for(pool, rows,
                     [&](int r, int) { add_norm_quantize(r, layer.attention_norm, layer.qkv); });
        attention(layer, i);
        parallel_for(pool, rows, [&](int r, int) {
            add_norm_quantize(r, layer.convolution_norm, layer.pointwise_in);
        });
        convolution(layer, i);
        parallel_for(pool, rows,
                     [&](int r, int) { add_norm_quantize(r, layer.second.norm, layer.second.in); });
        feed_forward(layer.second);
        parallel_for(pool, rows, [&](int r, int) {
            float* x = work.frames.row(r);
            add(work.narrow.row(r), s.width, x);
            layer_norm(x, layer.out_norm, s.width, x);
        });
    }

    // frames += narrow; narrow = norm(frames), quantized for a linear layer.
    void add_norm_quantize(int r, const Norm& norm, const Linear& next) const {
        add(work.narrow.row(r), s.width, work.frames.row(r));
        layer_norm(work.frames.row(r), norm, s.width, work.narrow.row(r));
        quantize_input(next, work.narrow, r);
    }

    // Reads and writes `narrow`.
    void feed_forward(const FeedForward& part) const {
        matmul(part.in, work.narrow, work.wide);
        parallel_for(pool, rows, [&](int r, int) {
            silu(work.wide.row(r), s.feed_forward);
            quantize_input(part.out, work.wide, r);
        });
        matmul(part.out, work.wide, work.narrow);
    }

    void attention(const Layer& layer, int i) const {
        matmul(layer.qkv, work.narrow, work.wide);
        const int chunks = rows / batch.chunk;
        parallel_for(pool, chunks * s.heads, [&](int unit, int worker) {
            const int first = unit / s.heads * batch.chunk, head = unit % s.heads;
            for (int r = first; r < first + batch.chunk; ++r)
                attend(layer, i, head, first, r, worker);
        });
        parallel_for(pool, rows,
                     [&](int r, int) { quantize_input(layer.attention_out, work.gated, r); });
        parallel_for(pool, batch.count, [&](int b, int) {
            for (int head = 0; head < s.heads; ++head)
                for (int kind = 0; kind < 2; ++kind) update_kv_cache(i, b, kind, head);
        });
        matmul(layer.attention_out, work.gated, work.narrow);
    }

    // Returns the ring of a head's keys (kind 0) or values (1) of layer i in a stream.
    float* ring(const Stream& stream, int i, int kind, int head) const {
        const size_t place = (size_t(i) * 2 + kind) * s.heads + head;
        return stream.keys_values + place * s.left * s.head_width();
    }

    // Attention of one row and head over the left context of its chunk and the chunk, oldest frame
    // first. Row `first` is the first of the chunk.
    void attend(const Layer& layer, int i, int head, int first, int r, int worker) const {
        const Stream& stream = stream_of(r);
        const int n = s.head_width(), zeroth = r / batch.frames * batch.frames;
        const int64_t begin = stream.start + (first - zeroth);  // frame number of the chunk's start
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
        auto place = [&](int kind, int key) -> const float* {  // of the key-th visible frame
            const int64_t frame = begin - past + key;
            if (frame < stream.start) return ring(stream, i, kind, head) + frame % s.left * n;
            const int row = zeroth + int(frame - stream.start);
            return work.wide.row(row) + (1 + kind) * s.width + head * n;
        };
        for (int key = 0; key < keys; ++key) {
            const int offset = past + (r - first) - key + s.longest_chunk - 1;
            scores[key] = dot_both(by_content, place(0, key), by_position, table + offset * n, n);
        }
        softmax(scores, keys);
        float* out = work.gated.row(r) + head * n;
        for (int d = 0; d < n; ++d) out[d] = 0;
        for (int key = 0; key < keys; ++key) {
            const float* value = place(1, key);
            for (int d = 0; d < n; ++d) out[d] += scores[key] * value[d];
        }
    }

    // Writes the newest keys or values of one head into the stream's ring.
    void update_kv_cache(int i, int b, int kind, int head) const {
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
        matmul(layer.pointwise_in, work.narrow, work.wide);
        parallel_for(pool, rows,
                     [&](int r, int) { glu(work.wide.row(r), s.width, work.gated.row(r)); });
        parallel_for(pool, rows, [&](int r, int) {
            causal_convolution(layer, i, r);
            silu(work.wide.row(r), s.width);
            quantize_input(layer.pointwise_out, work.wide, r);
        });
        parallel_for(pool, batch.count, [&](int b, int) {
            for (int k = 0; k < s.kernel - 1; ++k)
                std::memcpy(batch.streams[b].next_conv + (size_t(i) * (s.kernel - 1) + k) * s.width,
                            convolution_input(i, b, batch.frames + k), sizeof(float) * s.width);
        });
        matmul(layer.pointwise_out, work.wide, work.narrow);
    }

    // Returns an input frame of layer i's causal convolution in stream b: cached frames first, then
    // those of this step.
    const float* convolution_input(int i, int b, int place) const {
        const int kept = s.kernel - 1;
        if (place < kept) return batch.streams[b].conv + (size_t(i) * kept + place) * s.width;
        return work.gated.row(b * batch.frames + place - kept);
    }

    void causal_convolution(const Layer& layer, int i, int r) const {
        float* out = work.wide.row(r);
        std::memcpy(out, layer.depthwise.bias, sizeof(float) * s.width);
        for (int tap = 0; tap < s.kernel; ++tap) {
            const float* x = convolution_input(i, r / batch.frames, r % batch.frames + tap);
            const float* taps = layer.depthwise.taps + tap * s.width;
            for (int d = 0; d < s.width; ++d) out[d] += x[d] * taps[d];
        }
        if (layer.depthwise_norm.gain) layer_norm(out, layer.depthwise_norm, s.width, out);
    }

    // -- after the layers ------------------------------------------------------------------------

    void finish() const {
        parallel_for(pool, rows, [&](int r, int) {
            write(work.frames, r, s.width, &Stream::before_prompt);
            if (s.prompt) quantize_input(m.prompt_in, work.frames, r);
        });
        if (s.prompt) {
            matmul(m.prompt_in, work.frames, work.wide);
            parallel_for(pool, rows, [&](int r, int) {
                add(stream_of(r).language, s.prompt, work.wide.row(r));
                relu(work.wide.row(r), s.prompt);
                quantize_input(m.prompt_out, work.wide, r);
            });
            matmul(m.prompt_out, work.wide, work.frames);
        }
        parallel_for(pool, rows, [&](int r, int) {
            write(work.frames, r, s.width, &Stream::encoder_out);
            quantize_input(m.joint, work.frames, r);
        });
        matmul(m.joint, work.frames, work.narrow);
        parallel_for(pool, rows,
                     [&](int r, int) { write(work.narrow, r, s.joint, &Stream::joint_input); });
    }

    void write(const Table& x, int r, int n, float* Stream::* to) const {
        std::memcpy(stream_of(r).*to + size_t(r % batch.frames) * n, x.row(r), sizeof(float) * n);
    }
};

}  // namespace WHEATEAR_ISA
}  // namespace wheatear
