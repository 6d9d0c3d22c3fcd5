// SPDX-License-Identifier: Apache-2.0
#include "host-controller/config/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <fnmatch.h>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "host-controller/metadata/policy_patch.h"
#include "host-controller/metadata/uuid.h"
#include "host-controller/meter/period.h"

namespace acma::host {

namespace {
constexpr size_t k_max_file = 1024 * 1024;
constexpr size_t k_max_rules = 1000;  // matched one after the other for each domain
// The address of a socket holds 107 characters and a NUL (man unix(7)).
constexpr size_t k_max_socket_path = 107;
constexpr Micros k_least_retention = std::chrono::days(1);
constexpr Bytes k_least_decision_log = 1_MiB;

// Where something is, for messages: "controller.toml:12: rule.min-mem".
struct Place {
    std::string_view file;
    std::string key;
    toml::source_region region;

    [[nodiscard]] Error error(std::string_view message) const {
        return Error{ErrorCode::invalid, std::string(file) + ":" +
                                             std::to_string(region.begin.line) + ": " + key + ": " +
                                             std::string(message)};
    }
};

Result<std::string> text_of(const toml::node& node, const Place& place) {
    const auto* text = node.as_string();
    if (text == nullptr) {
        return place.error("must be text in quotes");
    }
    return text->get();
}

Status read_text(const toml::node& node, const Place& place, std::string& field) {
    const Result<std::string> text = text_of(node, place);
    if (!text) {
        return text.error();
    }
    if (text->empty()) {
        return place.error("must not be empty");
    }
    field = *text;
    return {};
}

// A name would need a resolver, and may have several addresses: which one is served is not guessed.
bool is_ip_address(const std::string& text) {
    in6_addr address{};  // large enough for both
    const std::string without_scope = text.substr(0, text.find('%'));
    return ::inet_pton(AF_INET, text.c_str(), &address) == 1 ||
           ::inet_pton(AF_INET6, without_scope.c_str(), &address) == 1;
}

Result<TcpEndpoint> parse_endpoint(std::string_view text) {
    const size_t colon = text.rfind(':');
    TcpEndpoint endpoint;
    if (colon == std::string_view::npos || colon == 0) {
        return Error{ErrorCode::invalid, "must be ADDRESS:PORT such as 127.0.0.1:9178"};
    }
    endpoint.address = std::string(text.substr(0, colon));
    if (endpoint.address.front() == '[' && endpoint.address.back() == ']') {
        endpoint.address = endpoint.address.substr(1, endpoint.address.size() - 2);
    }
    if (!is_ip_address(endpoint.address)) {
        return Error{ErrorCode::invalid, "'" + endpoint.address + "' is not an IP address"};
    }
    const std::string_view port = text.substr(colon + 1);
    const auto [end, err] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
    if (err != std::errc{} || end != port.data() + port.size() || endpoint.port == 0) {
        return Error{ErrorCode::invalid, "port '" + std::string(port) + "' is not from 1 to 65535"};
    }
    return endpoint;
}

Status read_listen(const toml::node& node, const Place& place, ControllerConfig& config) {
    std::string text;
    if (Status done = read_text(node, place, text); !done) {
        return done;
    }
    const Result<TcpEndpoint> endpoint = parse_endpoint(text);
    if (!endpoint) {
        return place.error(endpoint.error().message);
    }
    config.listen = *endpoint;
    return {};
}

Status read_level(const toml::node& node, const Place& place, std::string& level) {
    constexpr std::array<std::string_view, 5> k_levels{"debug", "info", "warning", "error",
                                                       "critical"};
    const Result<std::string> text = text_of(node, place);
    if (!text) {
        return text.error();
    }
    if (std::find(k_levels.begin(), k_levels.end(), *text) == k_levels.end()) {
        return place.error("'" + *text + "' is not one of debug, info, warning, error, critical");
    }
    level = *text;
    return {};
}

Status read_log_levels(const toml::node& node, const Place& place, ControllerConfig& config) {
    const toml::table* levels = node.as_table();
    if (levels == nullptr) {
        return place.error("write it as a table such as { api = \"warning\" }");
    }
    for (const auto& [part, level] : *levels) {
        const Place of{place.file, place.key + "." + std::string(part.str()), level.source()};
        if (std::find(k_log_parts.begin(), k_log_parts.end(), part.str()) == k_log_parts.end()) {
            return of.error("unknown key; known are vms, metering, api, decisions");
        }
        std::string& known = config.log_levels[std::string(part.str())];
        if (Status done = read_level(level, of, known); !done) {
            return done;
        }
    }
    return {};
}

Status read_socket(const toml::node& node, const Place& place, ControllerConfig& config) {
    std::string path;
    if (Status done = read_text(node, place, path); !done) {
        return done;
    }
    if (path.front() != '/' || path.size() > k_max_socket_path) {
        return place.error("must be an absolute path of at most 107 characters");
    }
    config.socket = path;
    return {};
}

Status read_texts(const toml::node& node, const Place& place, std::string_view what,
                  std::vector<std::string>& field) {
    const toml::array* texts = node.as_array();
    if (texts == nullptr || texts->empty()) {
        return place.error("must be a list of " + std::string(what));
    }
    std::vector<std::string> found;
    for (const toml::node& text : *texts) {
        std::string value;
        if (Status done = read_text(text, place, value); !done) {
            return done;
        }
        found.push_back(value);
    }
    field = std::move(found);
    return {};
}

Status read_guest_agents(const toml::node& node, const Place& place, ControllerConfig& config) {
    return read_texts(node, place, "names of domains (globs)", config.guest_agents);
}

Status read_channels(const toml::node& node, const Place& place, ControllerConfig& config) {
    return read_texts(node, place, "channel names", config.channels);
}

Status read_absolute_path(const toml::node& node, const Place& place, std::string& field) {
    std::string path;
    if (Status done = read_text(node, place, path); !done) {
        return done;
    }
    if (path.front() != '/') {
        return place.error("must be an absolute path");
    }
    field = path;
    return {};
}

// `optional_suffix`: as in "512MiB/s".
Result<Bytes> size_of(const toml::node& node, const Place& place,
                      std::string_view optional_suffix = {}) {
    std::string text;
    if (Status done = read_text(node, place, text); !done) {
        return done.error();
    }
    std::string_view size = text;
    if (size.ends_with(optional_suffix)) {
        size.remove_suffix(optional_suffix.size());
    }
    const Result<Bytes> parsed = parse_size(size);
    return parsed ? parsed : Result<Bytes>(place.error(parsed.error().message));
}

Status read_hold(const toml::node& node, const Place& place, ControllerConfig& config) {
    const auto* value = node.as_boolean();
    if (value == nullptr) {
        return place.error("must be true or false");
    }
    config.hold_with_memory_high = value->get();
    return {};
}

Status read_host_reserve(const toml::node& node, const Place& place, ControllerConfig& config) {
    const Result<Bytes> size = size_of(node, place);
    if (!size) {
        return size.error();
    }
    config.host_reserve = *size;
    return {};
}

Status read_swap_out_limit(const toml::node& node, const Place& place, ControllerConfig& config) {
    const Result<Bytes> limit = size_of(node, place, "/s");
    if (!limit) {
        return limit.error();
    }
    if (*limit < 1_MiB) {
        return place.error("page-out needs at least 1MiB a second");
    }
    config.swap_out_limit = *limit;
    return {};
}

Status read_usage_retention(const toml::node& node, const Place& place, ControllerConfig& config) {
    const Result<std::string> text = text_of(node, place);
    if (!text) {
        return text.error();
    }
    const Result<Micros> duration = parse_duration(*text);
    if (!duration) {
        return place.error(duration.error().message);
    }
    if (*duration < k_least_retention) {
        return place.error("must be at least 1d");
    }
    config.usage_retention = *duration;
    return {};
}

Status read_decision_log_size(const toml::node& node, const Place& place,
                              ControllerConfig& config) {
    const Result<Bytes> size = size_of(node, place);
    if (!size) {
        return size.error();
    }
    if (*size < k_least_decision_log) {
        return place.error("must be at least 1MiB");
    }
    config.decision_log_size = *size;
    return {};
}

// A policy field in a rule: text as in metadata; `shares` may also be a plain number.
Status read_rule_field(const toml::node& node, const Place& place, std::string_view key,
                       PolicyPatch& patch) {
    if (!is_field(key)) {
        return place.error("unknown key");
    }
    std::string text;
    if (const auto* number = node.as_integer(); number != nullptr && key == "shares") {
        text = std::to_string(number->get());
    } else if (Status done = read_text(node, place, text); !done) {
        return done;
    }
    const Status set = set_field(patch, key, text);
    return set ? set : place.error(set.error().message);
}

// metadata = { namespace = "...", path = "instance/flavor/@name", value = "m1.*" }
Status read_metadata_match(const toml::node& node, const Place& place, PolicyRule& rule) {
    const toml::table* table = node.as_table();
    if (table == nullptr) {
        return place.error("must be { namespace = \"...\", path = \"...\", value = \"...\" }");
    }
    PolicyRule::MetadataMatch match;
    for (const auto& [key, value] : *table) {
        const Place inner{place.file, place.key + "." + std::string(key.str()), value.source()};
        Status done;
        if (key.str() == "namespace") {
            done = read_text(value, inner, match.where.ns);
        } else if (key.str() == "path") {
            done = read_text(value, inner, match.where.path);
            if (const Status path = check_metadata_path(match.where.path); done && !path) {
                done = inner.error(path.error().message);
            }
        } else if (key.str() == "value") {
            done = read_text(value, inner, match.value_glob);
        } else {
            done = inner.error("unknown key; known are namespace, path, value");
        }
        if (!done) {
            return done;
        }
    }
    for (const auto& [name, text] :
         {std::pair("namespace", &match.where.ns), std::pair("path", &match.where.path),
          std::pair("value", &match.value_glob)}) {
        if (text->empty()) {
            return place.error(std::string(name) + " is missing");
        }
    }
    rule.metadata = std::move(match);
    return {};
}

std::string label_of(const PolicyRule& rule) {
    if (rule.name_glob) {
        return *rule.name_glob;
    }
    return rule.uuid ? *rule.uuid : rule.metadata->where.path + "=" + rule.metadata->value_glob;
}

Result<PolicyRule> read_rule(const toml::table& table, std::string_view file) {
    PolicyRule rule;
    PolicyPatch patch;
    for (const auto& [key, node] : table) {
        const Place place{file, "rule." + std::string(key.str()), node.source()};
        std::string text;
        Status done;
        if (key.str() == "name") {
            done = read_text(node, place, text);
            rule.name_glob = text;
        } else if (key.str() == "uuid") {
            done = read_text(node, place, text);
            rule.uuid = read_uuid(text);
            if (done && !rule.uuid) {
                done = place.error("'" + text + "' is not a UUID");
            }
        } else if (key.str() == "metadata") {
            done = read_metadata_match(node, place, rule);
        } else {
            done = read_rule_field(node, place, key.str(), patch);
        }
        if (!done) {
            return done.error();
        }
    }
    const Place whole{file, "rule", table.source()};
    if (!rule.name_glob && !rule.uuid && !rule.metadata) {
        return whole.error("needs name (a glob such as \"web-*\"), uuid or metadata");
    }
    // A rule may hit a VM whose owner never heard of ACMA: without a mode it only observes.
    const Result<Policy> policy = complete(patch, Mode::observe);
    if (!policy) {
        return whole.error(policy.error().message);
    }
    rule.policy = *policy;
    rule.label = label_of(rule);
    return rule;
}

Status read_rules(const toml::node& node, const Place& place, ControllerConfig& config) {
    const toml::array* rules = node.as_array();
    if (rules == nullptr || !rules->is_array_of_tables()) {
        return place.error("write each rule as [[rule]]");
    }
    if (config.rules.size() + rules->size() > k_max_rules) {
        return place.error("more than " + std::to_string(k_max_rules) + " rules");
    }
    for (const toml::node& entry : *rules) {
        Result<PolicyRule> rule = read_rule(*entry.as_table(), place.file);
        if (!rule) {
            return rule.error();
        }
        config.rules.push_back(*std::move(rule));
    }
    return {};
}

using Reader = Status (*)(const toml::node&, const Place&, ControllerConfig&);
// The one list of keys.
constexpr std::array<std::pair<std::string_view, Reader>, 17> k_keys{{
    {"connect", [](const toml::node& node, const Place& place,
                   ControllerConfig& config) { return read_text(node, place, config.connect); }},
    {"socket", read_socket},
    {"socket-group",
     [](const toml::node& node, const Place& place, ControllerConfig& config) {
         return read_text(node, place, config.socket_group);
     }},
    {"listen", read_listen},
    {"listen-names",
     [](const toml::node& node, const Place& place, ControllerConfig& config) {
         return read_texts(node, place, "names", config.listen_names);
     }},
    {"log-level",
     [](const toml::node& node, const Place& place, ControllerConfig& config) {
         return read_level(node, place, config.log_level);
     }},
    {"log-levels", read_log_levels},
    {"channels", read_channels},
    {"qemu-ga", read_guest_agents},
    {"host-reserve", read_host_reserve},
    {"hold-with-memory-high", read_hold},
    {"swap-out-limit", read_swap_out_limit},
    {"usage-database",
     [](const toml::node& node, const Place& place, ControllerConfig& config) {
         return read_absolute_path(node, place, config.usage_database);
     }},
    {"usage-retention", read_usage_retention},
    {"decision-log",
     [](const toml::node& node, const Place& place, ControllerConfig& config) {
         return read_absolute_path(node, place, config.decision_log);
     }},
    {"decision-log-size", read_decision_log_size},
    {"rule", read_rules},
}};

Status read_key(std::string_view key, const toml::node& node, std::string_view file,
                ControllerConfig& config) {
    const Place place{file, std::string(key), node.source()};
    for (const auto& [known, read] : k_keys) {
        if (known == key) {
            return read(node, place, config);
        }
    }
    std::string names;
    for (const auto& [known, read] : k_keys) {
        names += (names.empty() ? "" : ", ") + std::string(known);
    }
    return place.error("unknown key; known are " + names);
}

Result<std::string> read_file(const std::filesystem::path& path) {
    std::error_code failed;
    const auto type = std::filesystem::status(path, failed).type();
    if (type != std::filesystem::file_type::not_found &&
        type != std::filesystem::file_type::regular) {
        // Reading a FIFO would wait for ever.
        return Error{ErrorCode::invalid, path.string() + ": is not a regular file"};
    }
    std::ifstream in(path, std::ios::binary);
    if (!in) {
        return error_from_errno(errno, path.string());
    }
    std::string text(k_max_file + 1, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (in.bad() || in.gcount() < 0) {
        return Error{ErrorCode::io, path.string() + ": cannot be read"};
    }
    text.resize(static_cast<size_t>(in.gcount()));
    if (text.size() > k_max_file) {
        return Error{ErrorCode::too_large, path.string() + ": larger than 1 MiB"};
    }
    return text;
}

Result<std::vector<std::filesystem::path>> dropins(const std::filesystem::path& dir) {
    std::vector<std::filesystem::path> files;
    std::error_code failed;
    std::filesystem::directory_iterator entry(dir, failed);
    if (failed) {
        if (failed == std::errc::no_such_file_or_directory) {
            return files;
        }
        return Error{ErrorCode::io, dir.string() + ": " + failed.message()};
    }
    for (const std::filesystem::directory_iterator end; !failed && entry != end;
         entry.increment(failed)) {
        // Hidden ones are an editor's.
        if (entry->path().extension() == ".toml" &&
            !entry->path().filename().string().starts_with('.')) {
            files.push_back(entry->path());
        }
    }
    if (failed) {
        return Error{ErrorCode::io, dir.string() + ": " + failed.message()};
    }
    std::sort(files.begin(), files.end());
    return files;
}
}  // namespace

Status read_config(std::string_view text, std::string_view file, ControllerConfig& config) {
    const toml::parse_result parsed = toml::parse(text, file);
    if (!parsed) {
        const toml::parse_error& wrong = parsed.error();
        return Error{ErrorCode::invalid, std::string(file) + ":" +
                                             std::to_string(wrong.source().begin.line) + ": " +
                                             std::string(wrong.description())};
    }
    ControllerConfig read = config;
    for (const auto& [key, node] : parsed.table()) {
        if (Status done = read_key(key.str(), node, file, read); !done) {
            return done;
        }
    }
    config = std::move(read);
    return {};
}

Result<ControllerConfig> load_config(const std::filesystem::path& path,
                                     const std::filesystem::path& dropin_dir, ConfigFile need) {
    ControllerConfig config;
    Result<std::vector<std::filesystem::path>> files = dropins(dropin_dir);
    if (!files) {
        return files.error();
    }
    files->insert(files->begin(), path);
    for (const std::filesystem::path& file : *files) {
        const Result<std::string> text = read_file(file);
        const bool absent = !text && text.error().code == ErrorCode::not_found;
        if (absent && file == path && need == ConfigFile::may_be_missing) {
            continue;
        }
        if (!text) {
            return text.error();
        }
        if (const Status done = read_config(*text, file.string(), config); !done) {
            return done.error();
        }
        config.files.push_back(file.string());
    }
    return config;
}

namespace {
bool metadata_fits(const PolicyRule& rule, const ForeignMetadata& metadata) {
    if (!rule.metadata) {
        return true;
    }
    const auto found = metadata.find(rule.metadata->where);
    return found != metadata.end() &&
           std::any_of(found->second.begin(), found->second.end(),
                       [&glob = rule.metadata->value_glob](const std::string& value) {
                           return fnmatch(glob.c_str(), value.c_str(), 0) == 0;
                       });
}
}  // namespace

bool fits_any(const std::vector<std::string>& globs, std::string_view name) {
    const std::string text(name);
    return std::any_of(globs.begin(), globs.end(), [&text](const std::string& glob) {
        return fnmatch(glob.c_str(), text.c_str(), 0) == 0;
    });
}

std::vector<MetadataPath> metadata_paths(const std::vector<PolicyRule>& rules) {
    std::vector<MetadataPath> paths;
    for (const PolicyRule& rule : rules) {
        if (rule.metadata &&
            std::find(paths.begin(), paths.end(), rule.metadata->where) == paths.end()) {
            paths.push_back(rule.metadata->where);
        }
    }
    return paths;
}

const PolicyRule* match_rule(const std::vector<PolicyRule>& rules, std::string_view name,
                             std::string_view uuid, const ForeignMetadata& metadata) {
    const std::string domain(name);
    for (const PolicyRule& rule : rules) {
        const bool name_fits =
            !rule.name_glob || fnmatch(rule.name_glob->c_str(), domain.c_str(), 0) == 0;
        const bool uuid_fits = !rule.uuid || *rule.uuid == uuid;
        if (name_fits && uuid_fits && metadata_fits(rule, metadata)) {
            return &rule;
        }
    }
    return nullptr;
}

}  // namespace acma::host
