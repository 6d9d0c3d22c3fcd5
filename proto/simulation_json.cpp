// SPDX-License-Identifier: Apache-2.0
#include "proto/simulation_json.h"

#include "proto/fields.h"

namespace acma::proto {

using simulation::Difference;
using simulation::PolicyResults;
using simulation::Replayed;
using simulation::ReplayReport;
using simulation::Report;
using simulation::Results;

template <>
struct FieldList<PolicyResults> {
    static constexpr std::string_view k_title = "simulated policy";
    static constexpr std::array k_fields{
        field<&PolicyResults::policy>("policy"),
        field<&PolicyResults::results, &Results::counted>("counted_us"),
        field<&PolicyResults::results, &Results::demand_fits>("demand_fits_us"),
        field<&PolicyResults::results, &Results::demand_met>("demand_met_us"),
        field<&PolicyResults::results, &Results::at_grant>("at_grant_us"),
        field<&PolicyResults::results, &Results::stalled>("stall_us"),
        field<&PolicyResults::results, &Results::host_free_min>("host_free_min_bytes"),
        field<&PolicyResults::results, &Results::host_swap_max>("host_swap_max_bytes"),
        field<&PolicyResults::results, &Results::unbacked_max>("unbacked_max_bytes"),
        field<&PolicyResults::results, &Results::target_changes>("target_changes"),
        field<&PolicyResults::results, &Results::double_need>("double_need_us"),
        field<&PolicyResults::results, &Results::reservation>("reservation_us"),
    };
};

template <>
struct FieldList<Report> {
    static constexpr std::string_view k_title = "simulation";
    static constexpr std::array k_fields{
        field<&Report::scenario>("scenario"),
        field<&Report::what>("what"),
        field<&Report::seed>("seed"),
        field<&Report::vms>("vms"),
        field<&Report::memory>("memory_bytes"),
        field<&Report::budget>("budget_bytes"),
        field<&Report::max_mem>("max_mem_bytes"),
        field<&Report::reservation>("reservation_bytes"),
        field<&Report::doubling>("doubling"),
        field<&Report::policies>("policies"),
    };
};

template <>
struct FieldList<Difference> {
    static constexpr std::string_view k_title = "difference";
    static constexpr std::array k_fields{
        field<&Difference::wall>("time_us"),
        field<&Difference::vm>("vm"),
        field<&Difference::recorded>("recorded_bytes"),
        field<&Difference::granted>("granted_bytes"),
    };
};

template <>
struct FieldList<Replayed> {
    static constexpr std::string_view k_title = "replayed policy";
    static constexpr std::array k_fields{
        field<&Replayed::policy>("policy"),
        field<&Replayed::demand_fits>("demand_fits_us"),
        field<&Replayed::demand_met>("demand_met_us"),
        field<&Replayed::vm_time>("vm_time_us"),
        field<&Replayed::changes>("target_changes"),
        field<&Replayed::granted_mean>("granted_mean_bytes"),
        field<&Replayed::over_budget_max>("over_budget_max_bytes"),
        field<&Replayed::differences>("differences"),
        field<&Replayed::first>("first_differences"),
    };
};

template <>
struct FieldList<ReplayReport> {
    static constexpr std::string_view k_title = "replay";
    static constexpr std::array k_fields{
        field<&ReplayReport::cycles>("decisions"),    field<&ReplayReport::vms>("vms"),
        field<&ReplayReport::grants>("grants"),       field<&ReplayReport::from>("from_us"),
        field<&ReplayReport::until>("until_us"),      field<&ReplayReport::dropped>("dropped"),
        field<&ReplayReport::broken>("broken_lines"), field<&ReplayReport::newer>("newer_lines"),
        field<&ReplayReport::policies>("policies"),
    };
};

template <>
std::string to_json<ReplayReport>(const ReplayReport& report, Layout layout) {
    JsonWriter writer(layout);
    encode_fields(report, writer);
    return writer.take();
}

template <>
std::string to_json<Report>(const Report& report, Layout layout) {
    JsonWriter writer(layout);
    encode_fields(report, writer);
    return writer.take();
}

}  // namespace acma::proto
