#include "graph.hpp"

#include <numeric>
#include <string>

long long graph_sum(int nodes) {
    Graph<std::string, int> graph;
    auto name = [](int i) { return "node with a name beyond the small string " + std::to_string(i); };
    for (int i = 0; i < nodes; i++)
        for (int k = 1; k < 5; k++)
            graph.connect(name(i), name((i * k + 7 * k) % nodes), 1 + i * k % 17);
    auto best = graph.distances(name(0));
    return std::accumulate(best.begin(), best.end(), 0LL,
                           [](long long sum, const auto &entry) { return sum * 31 % 1000003 + entry.second; });
}
