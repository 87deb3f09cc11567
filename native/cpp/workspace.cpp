#include "workspace.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace wheatear {
namespace {

constexpr size_t HUGE_PAGE = 2 << 20;

int greatest(std::initializer_list<int> numbers) {
    int most = 0;
    for (int n : numbers) most = n > most ? n : most;
    return most;
}

}  // namespace

void Memory::reserve(size_t bytes) {
    std::free(held_);
    held_ = nullptr;
    size_ = used_ = 0;
    const size_t page = bytes < HUGE_PAGE ? LINE : HUGE_PAGE;
    const size_t size = (bytes + page - 1) / page * page;
    held_ = std::calloc(size + page, 1);
    if (!held_) throw std::bad_alloc();
    const uintptr_t at = reinterpret_cast<uintptr_t>(held_);
    start_ = static_cast<char*>(held_) + (page - at % page);
#if defined(__linux__)
    if (page == HUGE_PAGE) madvise(start_, size, MADV_HUGEPAGE);
#endif
    size_ = size;
}

void Workspace::fit(const Shape& s, const Batch& batch, int threads) {
    const int rows = batch.count * batch.frames;
    const int channels = s.padded_channels();
    const int most_inputs =
        greatest({s.width, s.feed_forward, s.prompt, channels * s.bands_after(3)});
    const int most_outputs = greatest({s.feed_forward, 3 * s.width, s.prompt, most_inputs});
    const int blocks = rounded_up(most_inputs, BLOCK) / BLOCK;
    const int own =
        greatest({s.bands_after(2) * channels, 2 * s.head_width() + s.left + s.longest_chunk});

    size_t bytes = 0;
    auto place_all = [&](auto place) {
        auto table = [&](Table& table, int count, int width) {
            table.stride = rounded_up(width, LINE / sizeof(float));
            table.values = static_cast<float*>(place(sizeof(float) * count * size_t(table.stride)));
        };
        table(first, batch.count * (4 * batch.frames + 3), s.bands_after(1) * channels);
        table(second, batch.count * (2 * batch.frames + 1), s.bands_after(2) * channels);
        table(subsampled, rows, s.channels * s.bands_after(3));
        table(frames, rows, s.width);
        table(wide, rows, most_outputs);
        table(narrow, rows, greatest({s.width, s.joint}));
        table(gated, rows, s.width);
        table(scratch, threads, own);
        quantised.codes = static_cast<int8_t*>(place(size_t(rows) * blocks * BLOCK));
        quantised.scales = static_cast<float*>(place(sizeof(float) * rows * blocks));
        quantised.corrections = static_cast<int32_t*>(place(sizeof(int32_t) * rows * blocks));
    };
    place_all([&](size_t n) -> void* {
        bytes += (n + LINE - 1) / LINE * LINE;
        return nullptr;
    });
    if (bytes > memory_.size()) memory_.reserve(bytes);
    memory_.reuse();
    place_all([&](size_t n) { return memory_.take(n); });
}

}  // namespace wheatear
