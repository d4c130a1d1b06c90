// Containers, exceptions, over-aligned objects, regexes, streams, and threads that hand objects on.
#include "graph.hpp"
#include "shapes.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <iomanip>
#include <iostream>
#include <list>
#include <mutex>
#include <new>
#include <regex>
#include <sstream>
#include <thread>

namespace {

template <typename T>
class Channel {
  public:
    void put(T item) {
        std::lock_guard<std::mutex> guard(lock_);
        items_.push_back(std::move(item));
        ready_.notify_one();
    }
    void close() {
        std::lock_guard<std::mutex> guard(lock_);
        closed_ = true;
        ready_.notify_all();
    }
    bool take(T &into) {
        std::unique_lock<std::mutex> guard(lock_);
        ready_.wait(guard, [this] { return closed_ || !items_.empty(); });
        if (items_.empty())
            return false;
        into = std::move(items_.front());
        items_.pop_front();
        return true;
    }

  private:
    std::mutex lock_;
    std::condition_variable ready_;
    std::list<T> items_;
    bool closed_ = false;
};

void shapes() {
    int refused = 0;
    auto all = make_shapes(20000, refused);
    std::sort(all.begin(), all.end(), [](const auto &a, const auto &b) {
        return a->area() != b->area() ? a->area() < b->area() : a->name() < b->name();
    });
    double sum = 0;
    Matrix place = Matrix::turned(0.1);
    for (auto &shape : all) {
        if (reinterpret_cast<std::uintptr_t>(&shape->place) % 64 != 0)
            std::cout << "misaligned\n";
        shape->place = shape->place * place;
        sum += shape->area() * shape->place.cell[0];
    }
    std::cout << "shapes " << all.size() << " refused " << refused << " " << std::setprecision(12) << sum << " "
              << all[all.size() / 2]->name() << "\n";
}

void threads() {
    Channel<std::unique_ptr<std::string>> channel;
    std::vector<std::thread> makers;
    std::vector<long long> sums(3);
    std::vector<std::thread> takers;
    for (int k = 0; k < 3; k++)
        takers.emplace_back([&, k] {
            std::unique_ptr<std::string> item;
            while (channel.take(item))
                for (unsigned char c : *item)
                    sums[k] += c;
        });
    for (int k = 0; k < 4; k++)
        makers.emplace_back([&, k] {
            for (int i = 0; i < 4000; i++)
                channel.put(std::make_unique<std::string>((i * 7 + k) % 900, char('a' + i % 26)));
        });
    for (auto &thread : makers)
        thread.join();
    channel.close();
    for (auto &thread : takers)
        thread.join();
    std::cout << "threads " << sums[0] + sums[1] + sums[2] << "\n";
}

void failures() {
    int caught = 0;
    for (int i = 0; i < 300; i++) {
        try {
            std::vector<char> impossible(std::vector<char>().max_size() - i);
            std::cout << impossible.size();
        } catch (const std::bad_alloc &) {
            caught++;
        }
    }
    char *none = new (std::nothrow) char[std::size_t(1) << 60];
    std::cout << "failures " << caught << " " << (none == nullptr) << "\n";
    delete[] none;
}

void text() {
    std::ostringstream out;
    for (int i = 0; i < 5000; i++)
        out << "item" << i << "=" << i * 31 % 1009 << (i % 10 ? ";" : "\n");
    std::string all = out.str();
    std::regex pair("(\\w+)=(\\d+)");
    long long sum = 0;
    std::size_t length = 0;
    for (std::sregex_iterator at(all.begin(), all.end(), pair), end; at != end; ++at) {
        sum += std::stoi((*at)[2]);
        length += (*at)[1].str().size();
    }
    std::cout << "text " << all.size() << " " << sum << " " << length << "\n";
}

} // namespace

int main() {
    shapes();
    std::cout << "graph " << graph_sum(4000) << "\n";
    threads();
    failures();
    text();
}
