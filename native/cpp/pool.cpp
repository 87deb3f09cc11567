#include "pool.h"

#include <chrono>

namespace wheatear {
namespace {

constexpr uint64_t MASK = (1u << 20) - 1;

// Whether `due` comes true within some microseconds.
template <class Due>
bool soon(Due due) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(30);
    do {
        for (int i = 0; i < 64; ++i) {
            if (due()) return true;
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#elif defined(__aarch64__)
            __asm__ volatile("yield");
#endif
        }
    } while (std::chrono::steady_clock::now() < until);
    return due();
}

}  // namespace

Pool::Pool(int threads) {
    for (int worker = 1; worker < threads; ++worker)
        workers_.emplace_back([this, worker] { serve(worker); });
}

Pool::~Pool() {
    {
        std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

int Pool::threads() const { return int(workers_.size()) + 1; }

void Pool::run(int units, Work work, void* job) {
    if (workers_.empty() || units < 2 || uint64_t(units) > MASK / 2) {
        for (int unit = 0; unit < units; ++unit) work(job, unit, 0);
        return;
    }
    work_ = work;
    job_ = job;
    undone_.store(units, std::memory_order_relaxed);
    const uint64_t number = (ticket_.load(std::memory_order_relaxed) >> 2 * FIELD) + 1;
    ticket_.store(number << 2 * FIELD | uint64_t(units) << FIELD);
    if (asleep_.load() > 0) {
        std::lock_guard lock(mutex_);
        wake_.notify_all();
    }
    while (take_one(0)) {
    }
    if (soon([&] { return undone_.load() == 0; })) return;
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return undone_.load() == 0; });
}

// Takes and does the next unit; false if there is none.
bool Pool::take_one(int worker) {
    const uint64_t ticket = ticket_.fetch_add(1);
    const uint64_t unit = ticket & MASK, units = ticket >> FIELD & MASK;
    if (unit >= units) return false;
    work_(job_, int(unit), worker);
    if (undone_.fetch_sub(1) == 1) {
        std::lock_guard lock(mutex_);  // the caller is either not waiting yet or already asleep
        done_.notify_one();
    }
    return true;
}

void Pool::serve(int worker) {
    uint64_t last = 0;
    while (wait_for_job(last)) {
        last = ticket_.load() >> 2 * FIELD;
        while (take_one(worker)) {
        }
    }
}

// Waits for another job than the last one; false when there will be none.
bool Pool::wait_for_job(uint64_t last) {
    auto due = [&] { return stop_.load() || ticket_.load() >> 2 * FIELD != last; };
    if (!soon(due)) {
        std::unique_lock lock(mutex_);
        ++asleep_;
        wake_.wait(lock, due);
        --asleep_;
    }
    return !stop_.load();
}

}  // namespace wheatear
