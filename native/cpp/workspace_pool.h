// Idle workspaces; their number grows to the largest number of concurrent calls.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

namespace wheatear {

template <class Work>
class WorkspacePool {
  public:
    std::unique_ptr<Work> acquire() {
        std::lock_guard lock(mutex_);
        if (idle_.empty()) return std::make_unique<Work>();
        std::unique_ptr<Work> work = std::move(idle_.back());
        idle_.pop_back();
        return work;
    }
    void release(std::unique_ptr<Work> work) {
        std::lock_guard lock(mutex_);
        idle_.push_back(std::move(work));
    }

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Work>> idle_;
};

}  // namespace wheatear
