// A few threads that share the units of a job.
//
// Which thread computes a unit never changes what is computed.  Between the jobs of a step, which
// are some microseconds apart, a thread looks for work for a moment before it goes to sleep;
// between steps all of them sleep.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace wheatear {

class Pool {
  public:
    using Work = void (*)(void* job, int unit, int worker);

    // `threads` counts the calling one.
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const;

    // Calls work(job, unit, worker) for every unit from 0 to units - 1; returns when all are done.
    // One caller at a time; worker is below threads(), and 0 is the caller.
    void run(int units, Work work, void* job);

    std::mutex in_use;  // held by whoever calls run()

  private:
    // A ticket names a job and its next unit: job << 40 | units << 20 | next.  Taking one is a
    // single addition, so that a thread that comes late can only ever take a unit that is due.
    static constexpr int FIELD = 20;

    void serve(int worker);
    bool take_one(int worker);
    bool wait_for_job(uint64_t last);

    std::atomic<uint64_t> ticket_{0};
    std::atomic<int> undone_{0};
    Work work_ = nullptr;
    void* job_ = nullptr;

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::atomic<int> asleep_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> workers_;
};

}  // namespace wheatear
