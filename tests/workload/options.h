// SPDX-License-Identifier: Apache-2.0
// The command line of acma-workload: "--name NUMBER" pairs and plain words.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"

namespace acma::workload {

// One step of `phases`: the hot set to have and for how long.
struct Phase {
    Bytes hot;
    Seconds duration{0};

    bool operator==(const Phase&) const = default;
};

class Options {
  public:
    // Every option must be one of `known`; each takes an unsigned number.
    static Result<Options> parse(std::span<const std::string_view> words,
                                 std::span<const std::string_view> known);
    [[nodiscard]] uint64_t number(std::string_view name, uint64_t otherwise) const;
    [[nodiscard]] Bytes mib(std::string_view name, uint64_t otherwise) const;
    [[nodiscard]] const std::vector<std::string>& words() const { return words_; }

  private:
    std::map<std::string, uint64_t, std::less<>> numbers_;
    std::vector<std::string> words_;
};

// "200:30,600:20": 200 MiB for 30 s, then 600 MiB for 20 s.
Result<std::vector<Phase>> parse_phases(std::string_view text);

}  // namespace acma::workload
