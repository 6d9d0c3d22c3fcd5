// SPDX-License-Identifier: Apache-2.0
// Every field of every field list: good, missing, wrong type, out of range, too long, unknown.
#include <gtest/gtest.h>

#include "proto/json.h"
#include "proto/lists.h"
#include "tests/unit/proto/samples.h"
#include "tests/unit/proto/transcript.h"

namespace acma::proto {
namespace {

template <typename T>
Json::Value json_of(const T& value) {
    JsonWriter writer(Layout::line);
    encode_fields(value, writer);
    return parsed(writer.take());
}

template <typename T>
std::string fault_of(const Json::Value& object, Reading reading) {
    T decoded;
    const Check fault = decode_fields(object, reading, decoded);
    return fault ? fault->error().message : "";
}

template <typename T>
std::string type_of(const Field<T>& field) {
    return field.type();
}

std::vector<Json::Value> values_of_wrong_type(const std::string& type) {
    std::vector<Json::Value> wrong{Json::Value(Json::nullValue), 1.5, 2.0};
    const auto is = [&type](std::string_view prefix) { return type.rfind(prefix, 0) == 0; };
    if (!is("integer") && !is("signed")) {
        wrong.emplace_back(1);
    }
    if (!is("string") && !is("one of")) {
        wrong.emplace_back("1");
    }
    if (!is("boolean")) {
        wrong.emplace_back(true);
    }
    if (!is("array")) {
        wrong.emplace_back(Json::arrayValue);
    }
    if (!is("object")) {
        wrong.emplace_back(Json::objectValue);
    }
    return wrong;
}

// A value just past the field's upper bound; null if it has none.
Json::Value value_past(const std::string& type, const Bounds& bounds) {
    if (bounds.most == std::numeric_limits<uint64_t>::max()) {
        return {};
    }
    if (type == "integer") {
        return Json::Value::UInt64{bounds.most + 1};
    }
    if (type == "string") {
        return std::string(bounds.most + 1, 'x');
    }
    Json::Value many(type.rfind("array", 0) == 0 ? Json::arrayValue : Json::objectValue);
    for (uint64_t i = 0; i <= bounds.most; ++i) {
        if (many.isArray()) {
            many.append(Json::Value());
        } else {
            many[std::to_string(i)] = 1;
        }
    }
    return many;
}

template <typename T>
void check_field(const Field<T>& field, const Json::Value& good) {
    const std::string name(field.name);
    const std::string quoted = "'" + name + "'";
    for (const Reading reading : {Reading::request, Reading::reply}) {
        Json::Value without = good;
        without.removeMember(name);
        EXPECT_EQ(fault_of<T>(without, reading),
                  field.required ? "Parameter " + quoted + " is missing" : "");
        for (const Json::Value& wrong : values_of_wrong_type(field.type())) {
            Json::Value changed = good;
            changed[name] = wrong;
            EXPECT_NE(fault_of<T>(changed, reading).find(quoted + ", expected: "),
                      std::string::npos)
                << name << " = " << sorted(wrong);
        }
        if (field.type() == "integer") {
            Json::Value negative = good;
            negative[name] = -1;
            EXPECT_NE(fault_of<T>(negative, reading).find(quoted + " expects a value from "),
                      std::string::npos);
            if (field.bounds.least > 0) {
                Json::Value below = good;
                below[name] = Json::Value::UInt64{field.bounds.least - 1};
                EXPECT_NE(fault_of<T>(below, reading), "") << name;
            }
        }
        if (const Json::Value past = value_past(field.type(), field.bounds); !past.isNull()) {
            Json::Value changed = good;
            changed[name] = past;
            EXPECT_NE(fault_of<T>(changed, reading).find(quoted), std::string::npos) << name;
        }
    }
}

template <typename T>
void check_struct(const T& sample) {
    SCOPED_TRACE(FieldList<T>::k_title);
    const Json::Value good = json_of(sample);
    EXPECT_EQ(good.size(), FieldList<T>::k_fields.size()) << "the sample leaves fields out";

    T decoded;
    ASSERT_EQ(decode_fields(good, Reading::request, decoded).has_value(), false)
        << fault_of<T>(good, Reading::request);
    EXPECT_EQ(decoded, sample);
    EXPECT_EQ(json_of(decoded), good);

    for (const auto& field : FieldList<T>::k_fields) {
        check_field(field, good);
    }

    Json::Value more = good;
    more["z"] = 1;
    EXPECT_EQ(fault_of<T>(more, Reading::request), "Parameter 'z' is unexpected");
    EXPECT_EQ(fault_of<T>(more, Reading::reply), "");
    EXPECT_NE(fault_of<T>(Json::Value(Json::arrayValue), Reading::reply), "");
    EXPECT_NE(fault_of<T>(Json::Value(1), Reading::request), "");
}

TEST(FieldLists, RefuseEachBadFieldByName) {
    check_struct(samples::policy());
    check_struct(samples::set_policy());
    check_struct(samples::policy_in_force());
    check_struct(SyncDelimited{.id = -5});
    check_struct(Sync{.id = 5});
    check_struct(Ping{});
    check_struct(Info{});
    check_struct(GetStatus{});
    check_struct(Empty{});
    check_struct(samples::info());
    check_struct(CommandInfo{.name = "guest-ping", .enabled = true, .success_response = false});
    check_struct(AcmaInfo{.protocol = 1, .capabilities = {"policy-1"}});
    check_struct(samples::failure());
    check_struct(samples::problem());
    check_struct(samples::status());
}

TEST(FieldLists, RefuseEachBadFieldOfTheApiByName) {
    check_struct(samples::mark());
    check_struct(samples::summary());
    check_struct(samples::host());
    check_struct(samples::vm_list());
    check_struct(samples::agent());
    check_struct(samples::vm_detail());
    check_struct(samples::explain_entry());
    check_struct(samples::explanation());
    check_struct(samples::policy_change());
    check_struct(samples::history_report());
    check_struct(samples::history_report().host.at(0));
    check_struct(samples::history_report().vms.at(0));
    check_struct(samples::history_report().vms.at(0).points.at(0));
    check_struct(samples::reservation());
    check_struct(samples::reservation_list());
    check_struct(samples::reservation_request());
    check_struct(samples::api_error());
}

TEST(FieldLists, NamePathsIntoListsAndObjects) {
    Json::Value status = json_of(samples::status());
    status["policy"]["psi_bp"] = 10'001;
    EXPECT_EQ(fault_of<AgentStatus>(status, Reading::reply),
              "Parameter 'policy.psi_bp' expects a value from 1 to 10000");
    status = json_of(samples::status());
    status["problems"][0]["what"] = 1;
    EXPECT_EQ(fault_of<AgentStatus>(status, Reading::reply),
              "Invalid parameter type for 'problems[0].what', expected: string");
    Json::Value entry = json_of(samples::explain_entry());
    entry["numbers"]["psi_bp"] = -1;
    EXPECT_NE(fault_of<ExplainEntry>(entry, Reading::reply).find("'numbers.psi_bp'"),
              std::string::npos);
}

TEST(FieldLists, TakeTheWholeRangeOfU64AndNothingBeyond) {
    Json::Value status = json_of(samples::status());
    status["mem_total_bytes"] = Json::Value::UInt64{18446744073709551615U};
    EXPECT_EQ(fault_of<AgentStatus>(status, Reading::reply), "");
    for (const auto* text : {"18446744073709551616", "1e3", "1.0", "-0.0"}) {
        const auto parsed = parse_json(std::string("{\"mem_total_bytes\":") + text + "}",
                                       {.bytes = 100, .depth = 2, .values = 2});
        ASSERT_TRUE(parsed.ok()) << text;
        status["mem_total_bytes"] = (*parsed)["mem_total_bytes"];
        EXPECT_EQ(fault_of<AgentStatus>(status, Reading::reply),
                  "Invalid parameter type for 'mem_total_bytes', expected: integer")
            << text;
    }
}

TEST(FieldLists, BoundTimesBySignedMicroseconds) {
    Json::Value status = json_of(samples::status());
    status["uptime_us"] = Json::Value::Int64{std::numeric_limits<int64_t>::max()};
    EXPECT_EQ(fault_of<AgentStatus>(status, Reading::reply), "");
    status["uptime_us"] = Json::Value::UInt64{uint64_t{1} << 63U};
    EXPECT_NE(fault_of<AgentStatus>(status, Reading::reply).find("'uptime_us' expects a value"),
              std::string::npos);
}

TEST(FieldLists, ReadAnUnknownWordOfANewerPeerAsTheCautiousOne) {
    Json::Value status = json_of(samples::status());
    status["state"] = "compacting";
    status["policy"]["mode"] = "turbo";
    status["policy_source"] = "cloud";
    AgentStatus decoded;
    ASSERT_FALSE(decode_fields(status, Reading::reply, decoded).has_value());
    EXPECT_EQ(decoded.state, AgentState::degraded);
    EXPECT_EQ(decoded.policy.mode, Mode::observe);
    EXPECT_EQ(decoded.policy_source, PolicySource::none);
    EXPECT_EQ(
        fault_of<AgentStatus>(status, Reading::request),
        "Parameter 'state' expects one of starting, ramping, settled, holding, observing, off, "
        "degraded");
}

TEST(FieldLists, CleanTextFromPeers) {
    Json::Value problem;
    problem["what"] = "no\x1B[2Jswap";
    problem["message"] = "two\nlines \xED\xA0\x80";
    Problem decoded;
    ASSERT_FALSE(decode_fields(problem, Reading::reply, decoded).has_value());
    EXPECT_EQ(decoded.what, "no [2Jswap");
    EXPECT_EQ(decoded.message, "two lines \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(FieldLists, CutWhatTheyWriteSoThatThePeerTakesIt) {
    AgentStatus status = samples::status();
    status.reason = std::string(5000, 'r');
    status.problems.assign(40, Problem{std::string(500, 'w'), "m"});
    status.uptime = Micros(-5);
    AgentStatus decoded;
    ASSERT_EQ(fault_of<AgentStatus>(json_of(status), Reading::reply), "");
    ASSERT_FALSE(decode_fields(json_of(status), Reading::reply, decoded).has_value());
    EXPECT_EQ(decoded.reason.size(), k_max_sentence);
    EXPECT_EQ(decoded.problems.size(), k_max_problems);
    EXPECT_EQ(decoded.problems[0].what.size(), k_max_word);
    EXPECT_EQ(decoded.uptime, Micros(0));
}

TEST(FieldLists, HideAHostileNameInAnError) {
    Json::Value object(Json::objectValue);
    object[std::string(5000, 'n') + "\n"] = 1;
    const std::string fault = fault_of<Ping>(object, Reading::request);
    EXPECT_LT(fault.size(), 120U);
    EXPECT_EQ(fault.find('\n'), std::string::npos);
}

}  // namespace
}  // namespace acma::proto
