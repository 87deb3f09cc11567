// Threads that share the units of one job at a time.
//
// The result of a unit does not depend on its thread. Jobs of a step follow each other within
// microseconds, so a thread spins for a short time before it sleeps. Between steps all threads
// sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace wheatear {

class ThreadPool {
  public:
    using Work = void (*)(void* job, int unit, int worker);

    // `threads` includes the calling thread.
    explicit ThreadPool(int threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int threads() const;

    // Calls work(job, unit, worker) for every unit from 0 to units - 1; returns when all are done.
    // One caller at a time; worker is below threads(), and 0 is the caller.
    void run(int units, Work work, void* job);

    std::mutex in_use;  // locked by the caller of run()

  private:
    // A ticket encodes a job and its next unit: job << 40 | units << 20 | next. A thread takes a
    // unit with one atomic addition, so that a late thread gets a unit of the current job only.
    static constexpr int FIELD = 20;

    void worker_loop(int worker);
    bool run_next_unit(int worker);
    bool wait_for_job(uint64_t last);

    std::atomic<uint64_t> ticket_{0};
    std::atomic<int> remaining_{0};
    Work work_ = nullptr;
    void* job_ = nullptr;

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::atomic<int> asleep_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> workers_;
};

}  // namespace wheatear
