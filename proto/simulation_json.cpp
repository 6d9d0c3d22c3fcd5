// SPDX-License-Identifier: Apache-2.0
#include "proto/simulation_json.h"

#include "proto/fields.h"

namespace acma::proto {

using simulation::PolicyResults;
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
std::string to_json<Report>(const Report& report, Layout layout) {
    JsonWriter writer(layout);
    encode_fields(report, writer);
    return writer.take();
}

}  // namespace acma::proto
