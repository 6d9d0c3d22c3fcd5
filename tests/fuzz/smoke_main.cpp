// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: its corpus, then mutations of it by a fixed seed, so that a
// failure comes back on every run.
//   smoke CORPUS_DIRECTORY NUMBER_OF_MUTATIONS
#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {
using Corpus = std::vector<std::string>;

Corpus load(const char* directory) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        paths.push_back(entry.path());
    }
    std::sort(paths.begin(), paths.end());
    Corpus corpus;
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    return corpus;
}

class Mutator {
  public:
    explicit Mutator(const Corpus& corpus) : corpus_(corpus) {}

    std::string next() {
        std::string input = corpus_[below(corpus_.size())];
        for (size_t changes = 1 + below(6); changes > 0; --changes) {
            change(input);
        }
        return input;
    }

  private:
    // NB: not std::uniform_int_distribution, which differs between libraries.
    size_t below(size_t bound) { return bound == 0 ? 0 : random_() % bound; }

    void change(std::string& input) {
        static constexpr std::array<std::string_view, 24> k_tokens{
            "{",    "}",       "[",    "]",        ",",     ":",    "\"",   "\\",
            "\n",   "\xFF",    "null", "true",     "-1",    "2.0",  "1e9",  "18446744073709551616",
            "\\u0", "\\udc00", "\xC3", "\"id\":1", "\"a\"", "[[[[", "]]]]", "9223372036854775808"};
        const size_t at = below(input.size() + 1);
        switch (below(6)) {
            case 0:
                if (at < input.size()) {
                    input[at] = static_cast<char>(random_());
                }
                break;
            case 1:
                input.erase(at, 1 + below(8));
                break;
            case 2:
                input.insert(at, k_tokens[below(k_tokens.size())]);
                break;
            case 3:
                input.insert(at, input.substr(below(input.size() + 1), below(32)));
                break;
            case 4: {
                const std::string& other = corpus_[below(corpus_.size())];
                input = input.substr(0, at) + other.substr(below(other.size() + 1));
                break;
            }
            default:
                input.resize(at);
                break;
        }
    }

    const Corpus& corpus_;
    std::mt19937 random_{20261121};  // NOLINT(bugprone-random-generator-seed): the same each time
};

void run(const std::string& input) {
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}
}  // namespace

int main(int argc, char** argv) {
    size_t mutations = 0;
    const std::string_view number = argc == 3 ? argv[2] : "";
    const auto end = number.data() + number.size();
    if (argc != 3 || std::from_chars(number.data(), end, mutations).ptr != end) {
        (void)std::fprintf(stderr, "usage: %s CORPUS_DIRECTORY NUMBER_OF_MUTATIONS\n", argv[0]);
        return 2;
    }
    const Corpus corpus = load(argv[1]);
    acma::fuzz::require(!corpus.empty(), "the corpus is not empty");
    for (const std::string& input : corpus) {
        run(input);
    }
    Mutator mutator(corpus);
    for (size_t i = 0; i < mutations; ++i) {
        run(mutator.next());
    }
    (void)std::printf("%zu inputs and %zu mutations\n", corpus.size(), mutations);
    return 0;
}
