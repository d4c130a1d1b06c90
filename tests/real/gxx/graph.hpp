// A generic graph on node-based containers.
#pragma once

#include <deque>
#include <limits>
#include <map>
#include <queue>
#include <set>
#include <unordered_map>
#include <vector>

template <typename Key, typename Weight>
class Graph {
  public:
    void connect(const Key &from, const Key &to, Weight weight) {
        edges_[from].emplace(to, weight);
        edges_[to].emplace(from, weight);
    }

    std::map<Key, Weight> distances(const Key &start) const {
        using Step = std::pair<Weight, Key>;
        std::priority_queue<Step, std::deque<Step>, std::greater<Step>> open;
        std::map<Key, Weight> best;
        open.emplace(Weight{}, start);
        while (!open.empty()) {
            auto [distance, at] = open.top();
            open.pop();
            if (!best.emplace(at, distance).second)
                continue;
            auto found = edges_.find(at);
            if (found == edges_.end())
                continue;
            for (const auto &[next, weight] : found->second)
                if (!best.count(next))
                    open.emplace(distance + weight, next);
        }
        return best;
    }

  private:
    std::unordered_map<Key, std::multimap<Key, Weight>> edges_;
};

long long graph_sum(int nodes);
