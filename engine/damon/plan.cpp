// SPDX-License-Identifier: Apache-2.0
// (model, model) -> ordered writes.
#include <optional>
#include <utility>

#include "engine/damon/fields.h"
#include "engine/damon/text.h"
#include "engine/damon/tree.h"

namespace acma::damon {

namespace {

struct Planning {
    const Features& features;
    std::string path;
    Plan plan;
    std::optional<Error> error;  // the first one; everything stops there
};

// Compares what is there (`was`) with what is wanted. Where both are equal it does not even build a
// path, so an update costs the comparison and its writes.
template <typename T>
class Differ {
  public:
    Differ(Planning& planning, const T& was, const T& want)
        : planning_(planning), was_(was), want_(want) {}

    template <typename F>
    void field(std::string_view name, F T::*member, std::optional<Feature> feature = {}) {
        const F& want = want_.*member;
        if (planning_.error || was_.*member == want) {
            return;
        }
        if constexpr (requires { needed_by(want); }) {
            feature = feature ? feature : needed_by(want);
        }
        write(name, to_text(want), feature);
    }

    template <typename F>
    void read_only(std::string_view, F T::*, std::optional<Feature> = {}) {}
    template <typename F>
    void runtime(std::string_view, F T::*, F) {}
    template <typename S>
    void read_only_children(std::string_view, std::vector<S> T::*) {}

    template <typename S>
    void dir(std::string_view name, S T::*member, std::optional<Feature> feature = {}) {
        if (planning_.error || was_.*member == want_.*member || !check(name, feature)) {
            return;
        }
        descend(name, was_.*member, want_.*member);
    }

    template <typename S>
    void children(std::string_view name, std::string_view nr, std::vector<S> T::*member,
                  std::optional<Feature> feature = {}) {
        const std::vector<S>& was = was_.*member;
        const std::vector<S>& want = want_.*member;
        if (planning_.error || was == want || !check(name, feature)) {
            return;
        }
        // Writing nr_x, even with the value it has, destroys all children and makes new ones.
        const bool anew = was.size() != want.size();
        if (anew) {
            write(std::string(name) + "/" + std::string(nr), to_text(want.size()), {});
        }
        const S fresh{};
        for (size_t i = 0; i < want.size() && !planning_.error; i++) {
            const S& before = anew ? fresh : was[i];
            if (before != want[i]) {
                descend(std::string(name) + "/" + std::to_string(i), before, want[i]);
            }
        }
    }

    void filters(std::vector<Filter> T::*member) {
        if (planning_.error || was_.*member == want_.*member) {
            return;
        }
        const Result<FilterDirs> was = filter_dirs(was_.*member, planning_.features);
        const Result<FilterDirs> want = filter_dirs(want_.*member, planning_.features);
        if (!was || !want) {
            planning_.error = (was ? want : was).error().in(planning_.path);
            return;
        }
        Differ<FilterDirs> differ(planning_, *was, *want);
        fields(differ);
    }

  private:
    [[nodiscard]] bool check(std::string_view name, std::optional<Feature> feature) {
        if (feature && !planning_.features.has(*feature)) {
            planning_.error = unsupported(planning_.path + "/" + std::string(name), *feature);
        }
        return !planning_.error;
    }

    void write(std::string_view name, std::string value, std::optional<Feature> feature) {
        if (check(name, feature)) {
            planning_.plan.push_back({planning_.path + "/" + std::string(name), std::move(value)});
        }
    }

    template <typename S>
    void descend(std::string_view name, const S& was, const S& want) {
        const size_t length = planning_.path.size();
        planning_.path.append("/").append(name);
        Differ<S> differ(planning_, was, want);
        fields(differ);
        planning_.path.resize(length);
    }

    Planning& planning_;
    const T& was_;
    const T& want_;
};

std::string kdamond_dir(size_t kdamond) {
    return "kdamonds/" + std::to_string(kdamond);
}

// nr_kdamonds is refused with EBUSY while any kdamond runs, and a new number loses all of them.
Status check_resizable(const Kdamonds& previous, size_t wanted) {
    for (size_t i = 0; i < previous.size(); i++) {
        const Kdamond& kdamond = previous[i];
        if (kdamond.state != State::off) {
            return Error{
                ErrorCode::busy,
                "nr_kdamonds cannot change from " + std::to_string(previous.size()) + " to " +
                    std::to_string(wanted) + ": " + kdamond_dir(i) +
                    (kdamond.state == State::on ? " is on (pid " + std::to_string(kdamond.pid) + ")"
                                                : " may be on")};
        }
    }
    return {};
}

}  // namespace

Result<Plan> plan_update(const Kdamonds& previous, const Kdamonds& next, const Features& features) {
    Planning planning{features, "", {}, {}};
    const bool anew = previous.size() != next.size();
    if (anew) {
        const Status resizable = check_resizable(previous, next.size());
        if (!resizable) {
            return resizable.error();
        }
        planning.plan.push_back({"kdamonds/nr_kdamonds", to_text(next.size())});
    }
    const Kdamond fresh;
    for (size_t i = 0; i < next.size() && !planning.error; i++) {
        const Kdamond& before = anew ? fresh : previous[i];
        if (before != next[i]) {
            planning.path = kdamond_dir(i);
            Differ<Kdamond> differ(planning, before, next[i]);
            fields(differ);
        }
    }
    if (planning.error) {
        return *std::move(planning.error);
    }
    return std::move(planning.plan);
}

Result<Plan> plan(const Kdamonds& desired, const Tree& current, const Features& features) {
    const Result<Kdamonds> now = parse(current);
    if (!now) {
        return now.error();
    }
    return plan_update(*now, desired, features);
}

Write state_write(size_t kdamond, StateCommand command) {
    return {kdamond_dir(kdamond) + "/state", std::string(to_string(command))};
}

StateCommand commit_for(const Plan& plan) {
    for (const Write& write : plan) {
        // A goal that a commit adds starts with current_value 0 on 6.12 (damos_commit_quota_goals
        // does not copy it), so a change of nr_goals is left to the full commit as well.
        if (write.path.find("/quotas/goals/") == std::string::npos ||
            write.path.ends_with("/nr_goals")) {
            return StateCommand::commit;
        }
    }
    return StateCommand::commit_schemes_quota_goals;
}

Plan plan_commit(Plan plan, size_t kdamond) {
    if (!plan.empty()) {
        plan.push_back(state_write(kdamond, commit_for(plan)));
    }
    return plan;
}

}  // namespace acma::damon
