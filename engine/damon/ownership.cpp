// SPDX-License-Identifier: Apache-2.0
#include "engine/damon/ownership.h"

#include <algorithm>
#include <string_view>

#include "engine/damon/features.h"
#include "engine/damon/text.h"

namespace acma::damon {

namespace {

class Fnv1a {
  public:
    void add(std::string_view text) {
        for (const char c : text) {
            hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
        }
        hash_ = (hash_ ^ 0xffU) * 0x100000001b3U;  // "ab","c" differs from "a","bc"
    }
    [[nodiscard]] uint64_t value() const { return hash_; }

  private:
    uint64_t hash_ = 0xcbf29ce484222325U;
};

// A directory that was only made, by nr_* writes alone, holds nothing that could be lost.
bool is_configured(const Kdamond& kdamond) {
    const Result<Plan> writes = plan_update({Kdamond{}}, {kdamond}, Features::all());
    return !writes || std::ranges::any_of(*writes, [](const Write& write) {
        const size_t slash = write.path.rfind('/');
        return !std::string_view(write.path).substr(slash + 1).starts_with("nr_");
    });
}

bool is_ours(const Kdamond& kdamond, size_t index, const OwnershipRecord& record) {
    return std::ranges::any_of(record.kdamonds, [&](const OwnedKdamond& owned) {
        return owned.index == index &&
               (owned.shape == k_any_shape || owned.shape == shape(kdamond)) &&
               (kdamond.state != State::on || owned.pid == -1 || owned.pid == kdamond.pid);
    });
}

std::string file(size_t index, std::string_view name) {
    return std::string(k_admin_dir) + "/kdamonds/" + std::to_string(index) + "/" +
           std::string(name);
}

std::string foreign_reason(const Kdamond& kdamond, size_t index) {
    const std::string name = "kdamond " + std::to_string(index);
    if (kdamond.state == State::on) {
        return name + " (pid " + std::to_string(kdamond.pid) +
               ") is on and not ours; stop the program that started it, or: echo off > " +
               file(index, "state") + " && echo 0 > " + std::string(k_admin_dir) +
               "/kdamonds/nr_kdamonds";
    }
    return name + " is off but has been set up by somebody else; when nobody needs it: echo 0 > " +
           std::string(k_admin_dir) + "/kdamonds/nr_kdamonds";
}

std::string module_reason(std::string_view module) {
    return std::string(module) +
           " is enabled and excludes every other user of DAMON; to free it: "
           "echo N > /sys/module/" +
           std::string(module) + "/parameters/enabled";
}

Ownership refuse(Claim claim, std::string reason) {
    Ownership ownership;
    ownership.claim = claim;
    ownership.reason = std::move(reason);
    return ownership;
}

}  // namespace

uint64_t shape(const Kdamond& kdamond) {
    Fnv1a hash;
    for (const Context& context : kdamond.contexts) {
        hash.add(to_text(context.operations));
        for (const Target& target : context.targets) {
            hash.add("target");
            hash.add(to_text(target.pid));
            for (const Region& region : target.regions) {
                hash.add(to_text(region.start));
                hash.add(to_text(region.end));
            }
        }
        for (const Scheme& scheme : context.schemes) {
            hash.add(to_text(scheme.action));
        }
    }
    return hash.value();
}

Result<Ownership> decide_ownership(const Tree& tree, const OwnershipRecord& record,
                                   const DamonModules& modules) {
    const Result<Kdamonds> kdamonds = parse(tree);
    if (!kdamonds) {
        if (kdamonds.error().code == ErrorCode::not_found) {
            return kdamonds.error();
        }
        // Set up with something newer than us, so by somebody else.
        return refuse(Claim::foreign,
                      "DAMON holds a setting that is not ours: " + kdamonds.error().message);
    }
    Ownership ownership;
    ownership.claim = Claim::none;
    for (size_t i = 0; i < kdamonds->size(); i++) {
        const Kdamond& kdamond = (*kdamonds)[i];
        if (kdamond.state == State::unknown) {
            return refuse(Claim::busy,
                          "kdamond " + std::to_string(i) + " is carrying out somebody's command");
        }
        if (kdamond.state == State::off && !is_configured(kdamond)) {
            continue;
        }
        if (!is_ours(kdamond, i, record)) {
            return refuse(Claim::foreign, foreign_reason(kdamond, i));
        }
        ownership.claim = Claim::ours;
        ownership.ours.push_back(i);
    }
    if (modules.reclaim || modules.lru_sort) {
        Ownership refused = refuse(
            Claim::foreign, module_reason(modules.reclaim ? "damon_reclaim" : "damon_lru_sort"));
        refused.ours = std::move(ownership.ours);
        return refused;
    }
    ownership.clear_damon_stat = modules.stat;
    ownership.restore_damon_stat = modules.stat || record.restore_damon_stat;
    ownership.reason = ownership.claim == Claim::ours ? "left behind by an earlier run of ours"
                                                      : "nobody uses DAMON";
    if (modules.stat) {
        ownership.reason += "; DAMON_STAT has to give way";
    }
    return ownership;
}

}  // namespace acma::damon
