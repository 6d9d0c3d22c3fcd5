// SPDX-License-Identifier: Apache-2.0
#include "proto/messages.h"

#include <algorithm>
#include <utility>

#include "proto/json.h"
#include "proto/lists.h"
#include "proto/wire_limits.h"

namespace acma::proto {

namespace {
constexpr JsonLimits k_request_limits{k_max_request_bytes, k_max_depth, k_max_request_values};
constexpr JsonLimits k_reply_limits{k_max_reply_bytes, k_max_depth, k_max_reply_values};

// --- id -------------------------------------------------------------------------------------

void put_id(const Id& id, JsonWriter& to) {
    if (std::holds_alternative<std::monostate>(id)) {
        return;
    }
    to.name("id");
    if (const auto* number = std::get_if<int64_t>(&id)) {
        to.number(*number);
    } else {
        to.text(std::get<std::string>(id));
    }
}

// An id is echoed byte for byte, so it is checked, never cleaned.
Check decode_id(const Json::Value& envelope, Id& to) {
    if (!envelope.isMember("id")) {
        return std::nullopt;
    }
    const Json::Value& value = envelope["id"];
    int64_t number = 0;
    if (!decode_i64(value, number)) {
        to = number;
        return std::nullopt;
    }
    if (value.isString()) {
        std::string text = value.asString();
        if (text.size() <= k_max_id_bytes && is_utf8(text)) {
            to = std::move(text);
            return std::nullopt;
        }
    }
    return wrong_type("integer or short string").inside("id");
}

// --- commands -------------------------------------------------------------------------------

// Calls visit.template operator()<Command>() for each kind of command.
template <typename Visit, size_t... I>
void for_each_command(Visit&& visit, std::index_sequence<I...>) {
    (visit.template operator()<std::variant_alternative_t<I, Command>>(), ...);
}
template <typename Visit>
void for_each_command(Visit&& visit) {
    for_each_command(visit, std::make_index_sequence<std::variant_size_v<Command>>());
}

Status check_policy(const SetPolicy& wanted) {
    if (Status policy = validate(wanted.policy); !policy) {
        return policy;
    }
    if (wanted.grant < wanted.policy.min_mem || wanted.grant > wanted.policy.max_mem) {
        return wrong_value("a value from min_mem_bytes to max_mem_bytes")
            .inside("grant_bytes")
            .error();
    }
    return {};
}

// The fields first, then what they must be together.
template <typename C>
Result<Command> decode_command(const Json::Value& arguments) {
    C command;
    if (Check fault = decode_fields(arguments, Reading::request, command)) {
        return fault->error();
    }
    if constexpr (std::is_same_v<C, SetPolicy>) {
        if (Status policy = check_policy(command); !policy) {
            return policy.error();
        }
    }
    return Command{std::move(command)};
}

Failure generic(std::string message) {
    return Failure{std::string(k_generic_error), std::move(message)};
}

std::variant<Command, Failure> decode_command(const std::string& name,
                                              const Json::Value& arguments) {
    std::variant<Command, Failure> decoded =
        Failure{std::string(k_command_not_found),
                "The command " + clean_text(name, k_max_word) + " has not been found"};
    for_each_command([&decoded, &name, &arguments]<typename C>() {
        if (name == C::k_name) {
            auto command = decode_command<C>(arguments);
            if (command) {
                decoded = *std::move(command);
            } else {
                decoded = generic(command.error().message);
            }
        }
    });
    return decoded;
}

// What is wrong with a request's envelope, in qemu-ga's words; empty if nothing.
std::string envelope_fault(const Json::Value& envelope) {
    for (const std::string& name : envelope.getMemberNames()) {
        if (name != "execute" && name != "arguments" && name != "id") {
            return "QMP input member '" + clean_text(name, k_max_word) + "' is unexpected";
        }
    }
    if (!envelope.isMember("execute")) {
        return "QMP input lacks member 'execute'";
    }
    if (!envelope["execute"].isString()) {
        return "QMP input member 'execute' must be a string";
    }
    if (envelope.isMember("arguments") && !envelope["arguments"].isObject()) {
        return "QMP input member 'arguments' must be an object";
    }
    return "";
}

// --- replies --------------------------------------------------------------------------------

template <typename T>
Result<Outcome> decode_return(const Json::Value& value, std::string_view inside) {
    T decoded;
    if (Check fault = Codec<T>::decode(value, Bounds{}, Reading::reply, decoded)) {
        return std::move(*fault).inside(inside).error();
    }
    if constexpr (std::is_same_v<T, Failure>) {
        return Outcome{std::move(decoded)};
    } else {
        return Outcome{Return{std::move(decoded)}};
    }
}

Result<Outcome> decode_outcome(const Json::Value& envelope, const Command& command) {
    const bool failed = envelope.isMember("error");
    if (failed == envelope.isMember("return")) {
        return Error{ErrorCode::invalid, "a reply has either 'return' or 'error'"};
    }
    if (failed) {
        return decode_return<Failure>(envelope["error"], "error");
    }
    return std::visit(
        [&envelope]<typename C>(const C&) {
            return decode_return<typename C::Returns>(envelope["return"], "return");
        },
        command);
}

// {"return":...,"id":...} of our own agents; nothing: it is not in that form.
std::optional<Outcome> read_plain(std::string_view line, const Request& request) {
    const auto* wanted = std::get_if<int64_t>(&request.id);
    PlainReader from(line);
    if (wanted == nullptr || !from.take('{') || from.name() != "return") {
        return std::nullopt;
    }
    return std::visit(
        [&from, wanted]<typename C>(const C&) -> std::optional<Outcome> {
            typename C::Returns value{};
            if (!Codec<typename C::Returns>::read(from, Bounds{}, value) || !from.take(',') ||
                from.name() != "id" || from.number() != static_cast<uint64_t>(*wanted) ||
                !from.take('}') || !from.at_end()) {
                return std::nullopt;
            }
            return Outcome{Return{std::move(value)}};
        },
        request.command);
}
}  // namespace

bool supports(const AgentInfo& info, std::string_view capability) {
    return info.acma && std::find(info.acma->capabilities.begin(), info.acma->capabilities.end(),
                                  capability) != info.acma->capabilities.end();
}

AgentInfo own_info(std::string_view version) {
    AgentInfo info{
        .version = std::string(version),
        .acma = AcmaInfo{
            .protocol = k_protocol_version,
            .capabilities = {std::string(k_capability_policy), std::string(k_capability_status),
                             std::string(k_capability_events), std::string(k_capability_limits)}}};
    for_each_command([&info]<typename C>() {
        info.supported_commands.push_back({.name = std::string(C::k_name)});
    });
    return info;
}

std::string_view name_of(const Command& command) {
    return std::visit([]<typename C>(const C&) { return C::k_name; }, command);
}

std::string encode(const Request& request) {
    JsonWriter writer(Layout::line);
    writer.begin_object();
    writer.name("execute");
    writer.text(name_of(request.command));
    std::visit(
        [&writer]<typename C>(const C& command) {
            if constexpr (!FieldList<C>::k_fields.empty()) {
                writer.name("arguments");
                encode_fields(command, writer);
            }
        },
        request.command);
    put_id(request.id, writer);
    writer.end_object();
    return writer.take();
}

std::string encode(const Reply& reply) {
    JsonWriter writer(Layout::line);
    writer.begin_object();
    if (const auto* failure = std::get_if<Failure>(&reply.outcome)) {
        writer.name("error");
        encode_fields(*failure, writer);
    } else {
        writer.name("return");
        std::visit(
            [&writer]<typename T>(const T& value) { Codec<T>::encode(value, Bounds{}, writer); },
            std::get<Return>(reply.outcome));
    }
    put_id(reply.id, writer);
    writer.end_object();
    return writer.take();
}

std::string encode_event(std::string_view name) {
    JsonWriter writer(Layout::line);
    writer.begin_object();
    writer.name("event");
    writer.text(name);
    writer.end_object();
    return writer.take();
}

bool is_event(std::string_view line, std::string_view name) {
    constexpr size_t k_longest = 128;
    if (line.size() > k_longest || line.find("event") == std::string_view::npos) {
        return false;
    }
    const auto envelope = parse_json(line, k_reply_limits);
    return envelope && envelope->isObject() && envelope->size() == 1 &&
           envelope->isMember("event") && (*envelope)["event"].isString() &&
           (*envelope)["event"].asString() == name;
}

std::variant<Request, Reply> decode_request(std::string_view line) {
    const auto envelope = parse_json(line, k_request_limits);
    if (!envelope) {
        return Reply{generic(envelope.error().message), {}};
    }
    Id id;
    if (const Check fault = decode_id(*envelope, id)) {
        return Reply{generic(fault->error().message), {}};
    }
    if (std::string fault = envelope_fault(*envelope); !fault.empty()) {
        return Reply{generic(std::move(fault)), std::move(id)};
    }
    const Json::Value arguments = envelope->get("arguments", Json::Value(Json::objectValue));
    auto decoded = decode_command((*envelope)["execute"].asString(), arguments);
    if (auto* failure = std::get_if<Failure>(&decoded)) {
        return Reply{std::move(*failure), std::move(id)};
    }
    return Request{std::get<Command>(std::move(decoded)), std::move(id)};
}

Result<std::optional<Outcome>> decode_reply(std::string_view line, const Request& request) {
    if (auto outcome = read_plain(line, request)) {
        return outcome;
    }
    const auto envelope = parse_json(line, k_reply_limits);
    if (!envelope) {
        return envelope.error();
    }
    Id id;
    if (const Check fault = decode_id(*envelope, id)) {
        return fault->error();
    }
    const bool anonymous_failure =
        std::holds_alternative<std::monostate>(id) && envelope->isMember("error");
    if (id != request.id && !anonymous_failure) {
        return std::optional<Outcome>{};
    }
    auto outcome = decode_outcome(*envelope, request.command);
    if (!outcome) {
        return outcome.error().in(name_of(request.command));
    }
    return std::optional<Outcome>{*std::move(outcome)};
}

}  // namespace acma::proto
