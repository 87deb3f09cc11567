#include "thread_pool.h"

#include <chrono>

namespace wheatear {
namespace {

constexpr uint64_t MASK = (1u << 20) - 1;

// Returns true if `due` becomes true within some microseconds.
template <class Due>
bool spin_until(Due due) {
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

ThreadPool::ThreadPool(int threads) {
    for (int worker = 1; worker < threads; ++worker)
        workers_.emplace_back([this, worker] { worker_loop(worker); });
}

ThreadPool::~ThreadPool() {
    {
        std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

int ThreadPool::threads() const { return int(workers_.size()) + 1; }

void ThreadPool::run(int units, Work work, void* job) {
    if (workers_.empty() || units < 2 || uint64_t(units) > MASK / 2) {
        for (int unit = 0; unit < units; ++unit) work(job, unit, 0);
        return;
    }
    work_ = work;
    job_ = job;
    remaining_.store(units, std::memory_order_relaxed);
    const uint64_t number = (ticket_.load(std::memory_order_relaxed) >> 2 * FIELD) + 1;
    ticket_.store(number << 2 * FIELD | uint64_t(units) << FIELD);
    if (asleep_.load() > 0) {
        std::lock_guard lock(mutex_);
        wake_.notify_all();
    }
    while (run_next_unit(0)) {
    }
    if (spin_until([&] { return remaining_.load() == 0; })) return;
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return remaining_.load() == 0; });
}

// Runs the next unit; returns false if there is none.
bool ThreadPool::run_next_unit(int worker) {
    const uint64_t ticket = ticket_.fetch_add(1);
    const uint64_t unit = ticket & MASK, units = ticket >> FIELD & MASK;
    if (unit >= units) return false;
    work_(job_, int(unit), worker);
    if (remaining_.fetch_sub(1) == 1) {
        std::lock_guard lock(mutex_);  // the caller is either not waiting yet or already asleep
        done_.notify_one();
    }
    return true;
}

void ThreadPool::worker_loop(int worker) {
    uint64_t last = 0;
    while (wait_for_job(last)) {
        last = ticket_.load() >> 2 * FIELD;
        while (run_next_unit(worker)) {
        }
    }
}

// Waits for a job after the last one; returns false when the pool is closed.
bool ThreadPool::wait_for_job(uint64_t last) {
    auto due = [&] { return stop_.load() || ticket_.load() >> 2 * FIELD != last; };
    if (!spin_until(due)) {
        std::unique_lock lock(mutex_);
        ++asleep_;
        wake_.wait(lock, due);
        --asleep_;
    }
    return !stop_.load();
}

}  // namespace wheatear
