// SPDX-License-Identifier: Apache-2.0
#include "proto/messages.h"

#include <gtest/gtest.h>

#include "proto/wire_limits.h"
#include "tests/unit/proto/samples.h"

namespace acma::proto {
namespace {

const std::vector<Request>& requests() {
    static const std::vector<Request> k_requests{
        {SyncDelimited{.id = 1}, {}},
        {Sync{.id = -9'223'372'036'854'775'807 - 1}, Id{int64_t{-1}}},
        {Ping{}, Id{std::string("x\n\xC3\xA9")}},
        {Info{}, Id{int64_t{9'223'372'036'854'775'807}}},
        {samples::set_policy(), Id{int64_t{2}}},
        {GetStatus{}, Id{std::string()}},
    };
    return k_requests;
}

// The error reply to a line; "" if the line is a request.
std::string refusal(std::string_view line) {
    const auto decoded = decode_request(line);
    const auto* reply = std::get_if<Reply>(&decoded);
    return reply == nullptr ? "" : encode(*reply);
}

std::string generic(const std::string& desc) {
    return R"({"error":{"class":"GenericError","desc":")" + desc + "\"}}";
}

TEST(DecodeRequest, UndoesEncode) {
    for (const Request& request : requests()) {
        const auto decoded = decode_request(encode(request));
        ASSERT_TRUE(std::holds_alternative<Request>(decoded)) << encode(request);
        EXPECT_EQ(std::get<Request>(decoded), request);
    }
}

TEST(DecodeRequest, RefusesEveryTruncation) {
    for (const Request& request : requests()) {
        const std::string line = encode(request);
        for (size_t size = 0; size < line.size(); ++size) {
            EXPECT_NE(refusal(line.substr(0, size)), "") << line.substr(0, size);
        }
    }
}

TEST(DecodeRequest, TakesWhatOtherClientsSend) {
    for (const auto* line :
         {R"({"execute":"guest-ping"})", R"({ "execute" : "guest-ping" , "arguments" : { } })",
          R"({"execute":"guest-sync","arguments":{"id":1795300000000}})",
          R"({"id":"virsh-1","execute":"guest-info"})", "{\"execute\":\"guest-ping\"}\r"}) {
        EXPECT_EQ(refusal(line), "") << line;
    }
}

TEST(DecodeRequest, MakesSharesOptional) {
    const auto decoded = decode_request(
        R"({"execute":"acma-set-policy","arguments":{"min_mem_bytes":536870912,)"
        R"("max_mem_bytes":1073741824,"psi_bp":10,"mode":"auto","grant_bytes":1073741824,)"
        R"("generation":1}})");
    ASSERT_TRUE(std::holds_alternative<Request>(decoded));
    EXPECT_EQ(std::get<SetPolicy>(std::get<Request>(decoded).command).policy.shares,
              k_default_shares);
}

TEST(DecodeRequest, AnswersAnUnknownCommandByItsOwnClass) {
    EXPECT_EQ(refusal(R"({"execute":"guest-exec","arguments":{"path":"/bin/sh"},"id":5})"),
              R"({"error":{"class":"CommandNotFound",)"
              R"("desc":"The command guest-exec has not been found"},"id":5})");
    EXPECT_NE(refusal(R"({"execute":"GUEST-PING"})").find("CommandNotFound"), std::string::npos);
}

TEST(DecodeRequest, EchoesTheIdInErrors) {
    EXPECT_EQ(
        refusal(R"({"execute":"guest-ping","arguments":{"z":1},"id":"a"})"),
        R"({"error":{"class":"GenericError","desc":"Parameter 'z' is unexpected"},"id":"a"})");
    EXPECT_EQ(refusal(R"({"execute":"guest-sync","id":-3})"),
              R"({"error":{"class":"GenericError","desc":"Parameter 'id' is missing"},"id":-3})");
}

TEST(DecodeRequest, RefusesIdsThatItCouldNotEcho) {
    const std::string wrong =
        generic("Invalid parameter type for 'id', expected: integer or short string");
    for (const auto* id :
         {"1.0", "{}", "[]", "true", "null", "9223372036854775808", R"("\udc00")"}) {
        EXPECT_EQ(refusal(std::string(R"({"execute":"guest-ping","id":)") + id + "}"), wrong) << id;
    }
    const std::string long_id(k_max_id_bytes + 1, 'i');
    EXPECT_EQ(refusal(R"({"execute":"guest-ping","id":")" + long_id + "\"}"), wrong);
}

TEST(DecodeRequest, RefusesTooDeepTooLongAndTooMany) {
    const auto deep = [](size_t depth) {
        return R"({"execute":"guest-ping","arguments":{"a":)" + std::string(depth, '[') +
               std::string(depth, ']') + "}}";
    };
    EXPECT_EQ(refusal(deep(k_max_depth - 2)), generic("Parameter 'a' is unexpected"));
    EXPECT_EQ(refusal(deep(k_max_depth - 1)), generic("JSON parse error, nested deeper than 16"));
    EXPECT_EQ(refusal(deep(30'000)), generic("JSON parse error, nested deeper than 16"));
    EXPECT_EQ(refusal(R"({"execute":")" + std::string(k_max_request_bytes, 'x') + "\"}"),
              generic("JSON parse error, longer in bytes than 65536"));
    std::string many = R"({"execute":"guest-ping","arguments":{"a":[0)";
    for (size_t i = 0; i < k_max_request_values; ++i) {
        many += ",0";
    }
    EXPECT_EQ(refusal(many + "]}}"), generic("JSON parse error, more values than 256"));
}

TEST(DecodeRequest, RefusesPoliciesThatContradictThemselves) {
    const auto refused = [](SetPolicy policy) { return refusal(encode(Request{policy, {}})); };
    SetPolicy policy = samples::set_policy();
    EXPECT_EQ(refused(policy), "");

    policy.policy.min_mem = 8_GiB;
    EXPECT_EQ(refused(policy), generic("min-mem 8 GiB is above max-mem 4 GiB"));

    policy = samples::set_policy();
    policy.grant = 5_GiB;
    EXPECT_EQ(refused(policy), generic("Parameter 'grant_bytes' expects a value from "
                                       "min_mem_bytes to max_mem_bytes"));
    policy.grant = 511_MiB;
    EXPECT_NE(refused(policy), "");

    policy = samples::set_policy();
    policy.policy.psi = 0_bp;
    EXPECT_EQ(refused(policy), generic("Parameter 'psi_bp' expects a value from 1 to 10000"));
    policy = samples::set_policy();
    policy.policy.min_mem = 1_MiB;
    EXPECT_NE(refused(policy).find("'min_mem_bytes'"), std::string::npos);
}

const std::vector<Reply>& replies_of(const Command& command) {
    static const std::vector<Reply> k_synced{{Return{Synced{.id = 77}}, {}}};
    static const std::vector<Reply> k_empty{{Return{Empty{}}, {}}, {samples::failure(), {}}};
    static const std::vector<Reply> k_info{{Return{samples::info()}, {}},
                                           {Return{AgentInfo{.version = "7.2.22"}}, {}}};
    static const std::vector<Reply> k_policy{{Return{samples::policy_in_force()}, {}},
                                             {Return{PolicyInForce{}}, {}}};
    static const std::vector<Reply> k_status{{Return{samples::status()}, {}},
                                             {Return{AgentStatus{}}, {}}};
    switch (command.index()) {
        case 0:
        case 1:
            return k_synced;
        case 2:
            return k_empty;
        case 3:
            return k_info;
        case 4:
            return k_policy;
        default:
            return k_status;
    }
}

TEST(DecodeReply, UndoesEncode) {
    for (const Request& request : requests()) {
        for (Reply reply : replies_of(request.command)) {
            reply.id = request.id;
            const auto decoded = decode_reply(encode(reply), request);
            ASSERT_TRUE(decoded.ok()) << encode(reply) << ": " << decoded.error().message;
            ASSERT_TRUE(decoded->has_value());
            EXPECT_EQ(**decoded, reply.outcome);
        }
    }
}

TEST(DecodeReply, RefusesEveryTruncation) {
    for (const Request& request : requests()) {
        for (Reply reply : replies_of(request.command)) {
            reply.id = request.id;
            const std::string line = encode(reply);
            for (size_t size = 0; size < line.size(); ++size) {
                EXPECT_FALSE(decode_reply(line.substr(0, size), request).ok());
            }
        }
    }
}

TEST(DecodeReply, LeavesRepliesToOthersAlone) {
    const Request ping{Ping{}, Id{int64_t{5}}};
    for (const auto* line :
         {R"({"return":{},"id":4})", R"({"return":{}})", R"({"return":{},"id":"5"})",
          R"({"error":{"class":"GenericError","desc":"x"},"id":6})"}) {
        const auto decoded = decode_reply(line, ping);
        ASSERT_TRUE(decoded.ok()) << line;
        EXPECT_FALSE(decoded->has_value()) << line;
    }
}

TEST(DecodeReply, TakesAFailureWithoutIdAsItsOwn) {
    const auto decoded = decode_reply(R"({"error":{"class":"GenericError","desc":"stray"}})",
                                      Request{Ping{}, Id{int64_t{5}}});
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(*decoded, Outcome(Failure{"GenericError", "stray"}));
}

TEST(DecodeReply, IgnoresWhatANewerAgentAdds) {
    const Request ping{Ping{}, Id{int64_t{5}}};
    const auto decoded = decode_reply(R"({"return":{"new":[1]},"id":5,"timestamp":1})", ping);
    ASSERT_TRUE(decoded.ok());
    EXPECT_EQ(*decoded, Outcome(Return{Empty{}}));
}

TEST(DecodeReply, NamesTheCommandAndFieldThatAreWrong) {
    const Request request{GetStatus{}, Id{int64_t{5}}};
    Reply reply{Return{samples::status()}, request.id};
    std::string line = encode(reply);
    const std::string field = R"("mem_free_bytes":4002)";
    line.replace(line.find(field), field.size(), R"("mem_free_bytes":-1)");
    const auto decoded = decode_reply(line, request);
    ASSERT_FALSE(decoded.ok());
    EXPECT_EQ(decoded.error().message,
              "acma-get-status: Parameter 'return.mem_free_bytes' expects a value from 0 to "
              "18446744073709551615");
}

TEST(DecodeReply, RefusesBothOrNeitherOfReturnAndError) {
    const Request ping{Ping{}, {}};
    for (const auto* line : {"{}", R"({"return":{},"error":{"class":"a","desc":"b"}})",
                             R"({"error":{"class":"a"}})", R"({"error":"x"})", R"({"return":1})"}) {
        EXPECT_FALSE(decode_reply(line, ping).ok()) << line;
    }
}

TEST(DecodeReply, BoundsBytesDepthAndValues) {
    const Request ping{Ping{}, {}};
    EXPECT_FALSE(
        decode_reply(R"({"return":{"a":")" + std::string(k_max_reply_bytes, 'x') + "\"}}", ping)
            .ok());
    EXPECT_TRUE(decode_reply(
                    R"({"return":{"a":")" + std::string(k_max_reply_bytes - 20, 'x') + "\"}}", ping)
                    .ok());
    EXPECT_FALSE(
        decode_reply(R"({"return":{"a":)" + std::string(15, '[') + std::string(15, ']') + "}}",
                     ping)
            .ok());
    std::string many = R"({"return":{"a":[0)";
    for (size_t i = 0; i < k_max_reply_values; ++i) {
        many += ",0";
    }
    EXPECT_FALSE(decode_reply(many + "]}}", ping).ok());
}

// A tab in front keeps a line from being read as plain.
TEST(DecodeReply, MeansTheSameWhetherItIsReadAsPlainOrNot) {
    const Request request{GetStatus{}, Id{int64_t{7}}};
    const std::string line = encode(Reply{Return{samples::status()}, request.id});
    const auto same = [&request](const std::string& changed) {
        const auto plain = decode_reply(changed, request);
        const auto other = decode_reply("\t" + changed, request);
        ASSERT_EQ(plain.ok(), other.ok()) << changed;
        if (plain.ok()) {
            ASSERT_EQ(*plain, *other) << changed;
        }
    };
    same(line);
    same(line + " ");
    for (size_t i = 0; i < line.size(); ++i) {
        for (const char c : std::string_view("\"\\,:{}[]0-9e. tx\x7F\x01\xC3")) {
            std::string changed = line;
            changed[i] = c;
            same(changed);
        }
        same(line.substr(0, i) + line.substr(i + 1));
        same(line.substr(0, i) + line.substr(i / 2));
    }
}

TEST(LongestMessages, FitTheirLimits) {
    AgentStatus status = samples::status();
    status.reason = std::string(5000, '\xC3');  // each becomes a six-byte \u escape
    status.problems.assign(100, Problem{std::string(100, '\xC3'), std::string(5000, '\xC3')});
    EXPECT_LT(encode(Reply{Return{status}, {}}).size(), 24'000U);

    AgentInfo info = own_info(std::string(100, 'v'));
    info.supported_commands.assign(1000, CommandInfo{.name = std::string(100, 'c')});
    const Request request{Info{}, {}};
    const auto decoded = decode_reply(encode(Reply{Return{info}, {}}), request);
    EXPECT_TRUE(decoded.ok()) << decoded.error().message;
}

TEST(OwnInfo, ListsEveryCommandAndCapability) {
    const AgentInfo info = own_info("1.2.3");
    EXPECT_EQ(info.version, "1.2.3");
    EXPECT_EQ(info.supported_commands.size(), std::variant_size_v<Command>);
    EXPECT_TRUE(supports(info, k_capability_policy));
    EXPECT_TRUE(supports(info, k_capability_status));
    EXPECT_FALSE(supports(info, "policy-2"));
    EXPECT_FALSE(supports(AgentInfo{.version = "7.2.22"}, k_capability_policy));
}

}  // namespace
}  // namespace acma::proto
