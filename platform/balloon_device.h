// SPDX-License-Identifier: Apache-2.0
// /dev/acma, the shim's device: what is owned, taking blocks and giving them back. The kernel's
// side of it is kmod-balloon-shim/include/uapi/acma_balloon.h.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/units.h"
#include "engine/scaling/blocks.h"
#include "platform/fd.h"

namespace acma::platform {

class BalloonDevice {
  public:
    struct State {
        Bytes ram;  // that the host gave
        Bytes owned;
        Bytes voluntary;  // of it, beyond what the host asks for
        Bytes asked;      // by the host: num_pages
        Bytes floor;      // nothing is taken below so much available memory
        Bytes taken_total;
        Bytes freed_total;
        Bytes oom_freed_total;       // given back since an OOM was near
        Bytes released;              // of what is owned: removed with its page structs
        std::string kept;            // why not more of it; empty: it was not tried
        Bytes pressure_freed_total;  // given back by the module since nobody was attached
        uint64_t windows = 0;
        uint64_t target_changes = 0;
        uint64_t pressure_events = 0;         // reclaim began while something voluntary was owned
        bool has_device = false;              // a balloon device; else nobody is told
        bool reports = false;                 // blocks go through its report queue
        bool zeroes = false;                  // the kernel zeroes what take() takes
        std::optional<uint64_t> gone_window;  // went offline in take_whole(), and is not back
        bool operator==(const State&) const = default;
    };
    // What became of a row, as blocks of its window. What is in none of these was owned, or not,
    // before.
    struct Outcome {
        uint64_t done = 0;
        uint64_t busy = 0;       // has pages that do not move now
        uint64_t no_memory = 0;  // too little is left
    };

    // not_found: no shim. busy from attach(): another agent has it.
    [[nodiscard]] static Result<BalloonDevice> open(const std::string& path);
    // `deadline`: to meet a new target of the host, before the module does it. Blocks stay for
    // `hold_off` after this object is gone.
    [[nodiscard]] Status attach(Millis deadline, Millis hold_off);

    // Takes note of all events so far: fd() polls readable (POLLPRI) for the next one.
    [[nodiscard]] Result<State> state();
    // Windows that have memory, by number. With `free`, looks at every block (instructions: about
    // 50 for a free one, 10 for another).
    enum class Look { owned, free };
    [[nodiscard]] Result<std::vector<scaling::Window>> windows(const State& state, Look look);

    // May take long where used memory has to be migrated.
    [[nodiscard]] Result<Outcome> take(const scaling::Row& row);
    // Takes a window that is entirely free without having it zeroed: it goes offline, and when it
    // comes online again the shim keeps it. unsupported: not this one, or none on this machine.
    // busy: not now.
    [[nodiscard]] Status take_whole(uint64_t window, const std::string& memory_dir);
    // Never waits for somebody who takes.
    [[nodiscard]] Result<Outcome> give(const scaling::Row& row);

    // Physically contiguous memory of `node`, or of any (-1), zeroed: the descriptor is to be
    // mapped with MAP_SHARED. It is free again when the descriptor and all mappings are gone.
    // `size`: at most k_pool_most, rounded up to blocks. busy: not so much in one piece.
    [[nodiscard]] Result<Fd> pool(Bytes size, int node);
    static constexpr Bytes k_pool_most = 1_GiB;

    // Tells the host again of all that is owned. Waits for whoever takes, and for the host.
    [[nodiscard]] Status report_again();

    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    explicit BalloonDevice(Fd fd) : fd_(std::move(fd)) {}
    Fd fd_;
};

// For people: how much is removed with its page structs, and why not more.
[[nodiscard]] std::string describe_released(const BalloonDevice::State& state);

}  // namespace acma::platform
