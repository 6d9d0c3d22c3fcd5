// SPDX-License-Identifier: Apache-2.0
// Tree -> model.
#include <optional>
#include <utility>

#include "engine/damon/fields.h"
#include "engine/damon/text.h"
#include "engine/damon/tree.h"

namespace acma::damon {

namespace {

struct Reading {
    const Tree& tree;
    std::string path;
    std::optional<Error> error;  // the first one; everything stops there

    [[nodiscard]] std::string file(std::string_view name) const {
        return path.empty() ? std::string(name) : path + "/" + std::string(name);
    }
    [[nodiscard]] const std::string* find(std::string_view name) const {
        const auto found = tree.find(file(name));
        return found == tree.end() ? nullptr : &found->second;
    }
    void missing(std::string_view name) {
        error = Error{ErrorCode::not_found, file(name) + " is missing"};
    }
    template <typename T>
    void read(std::string_view name, const std::string& content, T& into) {
        const Status status = from_text(without_newline(content), into);
        if (!status) {
            error = status.error().in(file(name));
        }
    }
};

template <typename T>
class Reader {
  public:
    Reader(Reading& reading, T& object) : reading_(reading), object_(object) {}

    template <typename F>
    void field(std::string_view name, F T::*member, std::optional<Feature> feature = {}) {
        if (reading_.error) {
            return;
        }
        if (const std::string* const content = reading_.find(name)) {
            reading_.read(name, *content, object_.*member);
        } else if (!feature) {
            reading_.missing(name);
        }
    }

    template <typename F>
    void read_only(std::string_view name, F T::*member, std::optional<Feature> feature = {}) {
        field(name, member, feature);
    }

    template <typename F>
    void runtime(std::string_view name, F T::*member, F unreadable) {
        if (reading_.error) {
            return;
        }
        if (const std::string* const content = reading_.find(name)) {
            reading_.read(name, *content, object_.*member);
        } else {
            object_.*member = unreadable;
        }
    }

    template <typename S>
    void dir(std::string_view name, S T::*member, std::optional<Feature> feature = {}) {
        if (reading_.error || (feature && !holds_files(name))) {
            return;
        }
        descend(name, object_.*member);
    }

    template <typename S>
    void children(std::string_view name, std::string_view nr, std::vector<S> T::*member,
                  std::optional<Feature> feature = {}) {
        if (reading_.error) {
            return;
        }
        const std::string nr_path = std::string(name) + "/" + std::string(nr);
        const std::string* const content = reading_.find(nr_path);
        if (content == nullptr) {
            if (!feature) {
                reading_.missing(nr_path);
            }
            return;
        }
        uint32_t count = 0;
        reading_.read(nr_path, *content, count);
        // A count that the tree does not back ends at the first missing child.
        for (uint32_t i = 0; i < count && !reading_.error; i++) {
            descend(std::string(name) + "/" + std::to_string(i), (object_.*member).emplace_back());
        }
    }

    template <typename S>
    void read_only_children(std::string_view name, std::vector<S> T::*member) {
        const std::string prefix = name.empty() ? "" : std::string(name) + "/";
        for (size_t i = 0; !reading_.error; i++) {
            const std::string child = prefix + std::to_string(i);
            if (!holds_files(child)) {
                return;
            }
            descend(child, (object_.*member).emplace_back());
        }
    }

    void filters(std::vector<Filter> T::*member) {
        FilterDirs dirs;
        Reader<FilterDirs> reader(reading_, dirs);
        fields(reader);
        // The order in which the kernel tries them (damon_sysfs_mk_scheme).
        take(dirs.core, FilterLayer::core, object_.*member);
        take(dirs.ops, FilterLayer::ops, object_.*member);
        take(dirs.both, FilterLayer::both, object_.*member);
    }

  private:
    static void take(std::vector<Filter>& from, FilterLayer layer, std::vector<Filter>& to) {
        for (Filter& filter : from) {
            filter.layer = layer;
            to.push_back(std::move(filter));
        }
    }

    [[nodiscard]] bool holds_files(std::string_view name) const {
        const std::string prefix = reading_.file(name) + "/";
        const auto next = reading_.tree.lower_bound(prefix);
        return next != reading_.tree.end() && next->first.starts_with(prefix);
    }

    template <typename S>
    void descend(std::string_view name, S& into) {
        const size_t length = reading_.path.size();
        reading_.path = reading_.file(name);
        Reader<S> reader(reading_, into);
        fields(reader);
        reading_.path.resize(length);
    }

    Reading& reading_;
    T& object_;
};

struct Admin {
    Kdamonds kdamonds;
};

}  // namespace

Result<Kdamonds> parse(const Tree& tree) {
    Reading reading{tree, "", {}};
    Admin admin;
    Reader<Admin>(reading, admin).children("kdamonds", "nr_kdamonds", &Admin::kdamonds);
    if (reading.error) {
        return *std::move(reading.error);
    }
    return std::move(admin.kdamonds);
}

}  // namespace acma::damon
