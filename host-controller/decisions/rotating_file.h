// SPDX-License-Identifier: Apache-2.0
// Lines in a file of bounded size: one that is full becomes PATH.1, in the place of the one before.
#pragma once

#include <string>
#include <string_view>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "platform/fd.h"

namespace acma::host {

class RotatingFile {
  public:
    // `most` of each of the two; a line that is longer has a file of its own. Mode 0600.
    RotatingFile(std::string path, Bytes most) : path_(std::move(path)), most_(most) {}

    // The line (without its newline) is in the file as a whole, or not at all. The file is opened
    // anew after each failure, and where somebody took it away.
    [[nodiscard]] Status append(std::string_view line);

  private:
    [[nodiscard]] Status open();
    [[nodiscard]] Status rotate();
    [[nodiscard]] Error failed(int reason);

    const std::string path_;
    const Bytes most_;
    platform::Fd file_;
    uint64_t size_ = 0;
    bool broken_end_ = false;  // whoever wrote it last died in the middle of a line
};

}  // namespace acma::host
