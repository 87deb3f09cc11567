#include "workspace.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace wheatear {
namespace {

constexpr size_t HUGE_PAGE = 2 << 20;

int largest(std::initializer_list<int> numbers) {
    int most = 0;
    for (int n : numbers) most = n > most ? n : most;
    return most;
}

// Allocates tables from memory, or counts their bytes if there is no memory yet.
class Allocator {
  public:
    explicit Allocator(Memory* memory) : memory_(memory) {}

    size_t bytes() const { return bytes_; }

    Table table(int rows, int width) {
        Table table;
        table.stride = rounded_up(width, LINE / sizeof(float));
        table.values = take<float>(rows * size_t(table.stride));
        return table;
    }
    QuantizedRows quantized(int rows, int inputs) {
        const size_t blocks = size_t(rows) * (rounded_up(inputs, BLOCK) / BLOCK);
        return {take<int8_t>(blocks * BLOCK), take<float>(blocks), take<int32_t>(blocks)};
    }

  private:
    template <class T>
    T* take(size_t count) {
        const size_t bytes = count * sizeof(T);
        bytes_ += (bytes + LINE - 1) / LINE * LINE;
        return memory_ ? static_cast<T*>(memory_->take(bytes)) : nullptr;
    }

    Memory* const memory_;
    size_t bytes_ = 0;
};

// Calls allocate(allocator) to place tables in memory, which grows if necessary.
template <class Allocate>
void place(Memory& memory, Allocate allocate) {
    Allocator counting(nullptr);
    allocate(counting);
    if (counting.bytes() > memory.size()) memory.reserve(counting.bytes());
    memory.reuse();
    Allocator placing(&memory);
    allocate(placing);
}

}  // namespace

void Memory::reserve(size_t bytes) {
    std::free(allocated_);
    allocated_ = nullptr;
    size_ = used_ = 0;
    const size_t page = bytes < HUGE_PAGE ? LINE : HUGE_PAGE;
    const size_t size = (bytes + page - 1) / page * page;
    allocated_ = std::calloc(size + page, 1);
    if (!allocated_) throw std::bad_alloc();
    const uintptr_t at = reinterpret_cast<uintptr_t>(allocated_);
    start_ = static_cast<char*>(allocated_) + (page - at % page);
#if defined(__linux__)
    if (page == HUGE_PAGE) madvise(start_, size, MADV_HUGEPAGE);
#endif
    size_ = size;
}

void Workspace::fit(const EncoderShape& s, const Batch& batch, int threads) {
    const int rows = batch.count * batch.frames;
    const int channels = s.padded_channels();
    const int most_inputs =
        largest({s.width, s.feed_forward, s.prompt, channels * s.bands_after(3)});
    const int most_outputs = largest({s.feed_forward, 3 * s.width, s.prompt, most_inputs});
    const int own =
        largest({s.bands_after(2) * channels, 2 * s.head_width() + s.left + s.longest_chunk});

    place(memory_, [&](Allocator& at) {
        first = at.table(batch.count * (4 * batch.frames + 3), s.bands_after(1) * channels);
        second = at.table(batch.count * (2 * batch.frames + 1), s.bands_after(2) * channels);
        subsampled = at.table(rows, s.channels * s.bands_after(3));
        frames = at.table(rows, s.width);
        wide = at.table(rows, most_outputs);
        narrow = at.table(rows, largest({s.width, s.joint}));
        gated = at.table(rows, s.width);
        scratch = at.table(threads, own);
        quantized = at.quantized(rows, most_inputs);
    });
}

void DecoderWorkspace::fit(const DecoderShape& s, int rows) {
    const int most_inputs = largest({2 * s.hidden, s.joint});
    place(memory_, [&](Allocator& at) {
        input = at.table(rows, most_inputs);
        gates = at.table(rows, largest({4 * s.hidden, s.joint}));
        quantized = at.quantized(rows, most_inputs);
    });
}

}  // namespace wheatear
