// SPDX-License-Identifier: Apache-2.0
#include "proto/decision_json.h"

#include "proto/json.h"
#include "proto/lists.h"

namespace acma::proto {

using arbiter::Grant;
using arbiter::Guest;
using arbiter::Host;
using arbiter::Needs;
using arbiter::Record;
using arbiter::Strain;
using arbiter::Why;
using Vm = Record::Vm;

namespace {
struct Line {
    uint64_t version = k_decision_version;
    Record record;
};

// The same VMs as in a list of them, with twice the values.
constexpr JsonLimits k_line_limits{size_t{16} * 1024 * 1024, 8, 1'000'000};
}  // namespace

// What the arbiter is told has to come into the log, or a replay decides by something else.
static_assert(sizeof(Host) == 3 * sizeof(Bytes) + alignof(Bytes));
static_assert(sizeof(Needs) == 2 * sizeof(Bytes) + alignof(Bytes));
static_assert(sizeof(Guest) == 6 * sizeof(Bytes) + sizeof(std::optional<Needs>) +
                                   sizeof(std::optional<Bytes>) + alignof(Bytes));

template <>
struct Words<Why> {
    static constexpr std::array k_all{Why::keeps,    Why::fixed,     Why::needs,  Why::pressed,
                                      Why::spare,    Why::waits,     Why::others, Why::unused,
                                      Why::strained, Why::emergency, Why::stuck};
    static constexpr Why k_newer = Why::keeps;
};

template <>
struct Words<Strain> {
    static constexpr std::array k_all{Strain::none, Strain::strained, Strain::emergency};
    static constexpr Strain k_newer = Strain::strained;
};

template <>
struct FieldList<Needs> {
    static constexpr std::string_view k_title = "needs";
    static constexpr std::array k_fields{
        field<&Needs::active>("active_bytes"),
        field<&Needs::used>("used_bytes"),
        field<&Needs::pressed>("pressed"),
    };
};

template <>
struct FieldList<Host> {
    static constexpr std::string_view k_title = "arbitrated host";
    static constexpr std::array k_fields{
        field<&Host::budget>("budget_bytes"),
        field<&Host::reserved>("reserved_bytes"),
        field<&Host::strain>("strain"),
        field<&Host::short_of>("short_of_bytes"),
    };
};

template <>
struct FieldList<Vm> {
    static constexpr std::string_view k_title = "arbitrated VM";
    static constexpr std::array k_fields{
        field<&Vm::name>("name", bytes_to(k_max_name)),
        field<&Vm::uuid>("uuid", bytes_to(k_max_word)),
        field<&Vm::guest, &Guest::min>("min_bytes"),
        field<&Vm::guest, &Guest::max>("max_bytes"),
        field<&Vm::guest, &Guest::shares>("shares"),
        field<&Vm::guest, &Guest::own>("own_bytes"),
        field<&Vm::guest, &Guest::grant>("grant_bytes"),
        field<&Vm::guest, &Guest::holds>("holds_bytes"),
        field<&Vm::guest, &Guest::needs>("needs"),
        optional_field<&Vm::guest, &Guest::stuck_at>("stuck_at_bytes"),
        field<&Vm::guest, &Guest::fixed>("fixed"),
        field<&Vm::grant, &Grant::size>("granted_bytes"),
        field<&Vm::grant, &Grant::fair>("fair_bytes"),
        field<&Vm::grant, &Grant::why>("why"),
    };
};

template <>
struct FieldList<Line> {
    static constexpr std::array k_fields{
        field<&Line::version>("version"),
        field<&Line::record, &Record::wall>("time_us"),
        field<&Line::record, &Record::memory>("memory_bytes"),
        field<&Line::record, &Record::available>("available_bytes"),
        field<&Line::record, &Record::host>("host"),
        field<&Line::record, &Record::vms>("vms", list_of(k_max_vms)),
        field<&Line::record, &Record::free>("free_bytes"),
        field<&Line::record, &Record::lacking>("lacking_bytes"),
        field<&Line::record, &Record::missing>("missing_bytes"),
        optional_field<&Line::record, &Record::dropped>("dropped"),
    };
};

template <>
std::string to_json<Record>(const Record& record, Layout layout) {
    JsonWriter writer(layout);
    encode_fields(Line{.record = record}, writer);
    return writer.take();
}

template <>
Result<Record> from_json<Record>(std::string_view text) {
    const auto json = parse_json(text, k_line_limits);
    if (!json) {
        return json.error();
    }
    const Json::Value& version = (*json)["version"];
    if (version.isUInt64() && version.asUInt64() > k_decision_version) {
        return Error{ErrorCode::unsupported, "version " + std::to_string(version.asUInt64())};
    }
    Line line;
    if (const Check fault = decode_fields(*json, Reading::reply, line)) {
        return fault->error();
    }
    return std::move(line.record);
}

}  // namespace acma::proto
