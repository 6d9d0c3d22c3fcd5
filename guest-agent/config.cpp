// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/config.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <vector>

#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include "platform/file.h"

namespace acma::agent {

namespace {

// The address of a socket holds 107 characters and a NUL (man unix(7)).
constexpr size_t k_most_socket_path = 107;

std::string where(const std::string& name, const toml::node& node) {
    return name + ":" + std::to_string(node.source().begin.line);
}

template <typename T, typename Parse>
Status set_text(const toml::node& node, std::optional<T>& out, Parse parse) {
    const auto text = node.value<std::string>();
    if (!text || !node.is_string()) {
        return Error{ErrorCode::invalid, "must be a string in quotes"};
    }
    auto value = parse(*text);
    if (!value) {
        return value.error();
    }
    out = *value;
    return {};
}

// A guest needs no less (engine/policy).
Result<Bytes> parse_mem(std::string_view text) {
    const auto size = parse_size(text);
    if (size && *size < k_least_min_mem) {
        return Error{ErrorCode::invalid, human(*size) + " is below " + human(k_least_min_mem) +
                                             ", the least a guest can live on"};
    }
    return size;
}

Status set_string(const toml::node& node, std::string& out) {
    if (!node.is_string() || node.value_or(std::string()).empty()) {
        return Error{ErrorCode::invalid, "must be a string that is not empty"};
    }
    out = node.value_or(std::string());
    return {};
}

// Table and key -> destination: the one list of what agent.toml may say.
struct Key {
    std::string_view table;
    std::string_view key;
    std::function<Status(const toml::node&, Config&)> set;
};

const std::vector<Key>& keys() {
    static const std::vector<Key> k_keys{
        {"policy", "min-mem",
         [](const toml::node& n, Config& c) { return set_text(n, c.min_mem, parse_mem); }},
        {"policy", "max-mem",
         [](const toml::node& n, Config& c) { return set_text(n, c.max_mem, parse_mem); }},
        {"policy", "psi",
         [](const toml::node& n, Config& c) { return set_text(n, c.psi, parse_psi); }},
        {"policy", "mode",
         [](const toml::node& n, Config& c) { return set_text(n, c.mode, parse_mode); }},
        {"policy", "standalone",
         [](const toml::node& n, Config& c) -> Status {
             if (!n.is_boolean()) {
                 return Error{ErrorCode::invalid, "must be true or false"};
             }
             c.standalone = n.value_or(false);
             return {};
         }},
        {"scaling", "mode",
         [](const toml::node& n, Config& c) -> Status {
             const std::string mode = n.value_or(std::string());
             if (mode != "balloon" && mode != "power-saving") {
                 return Error{ErrorCode::invalid, "must be \"balloon\" or \"power-saving\""};
             }
             c.scaling =
                 mode == "balloon" ? Config::Scaling::balloon : Config::Scaling::power_saving;
             return {};
         }},
        {"channel", "name",
         [](const toml::node& n, Config& c) -> Status {
             const Status status = set_string(n, c.channel);
             return status && c.channel.find('/') != std::string::npos
                        ? Error{ErrorCode::invalid, "is the name of a port, not a path"}
                        : status;
         }},
        {"channel", "socket",
         [](const toml::node& n, Config& c) -> Status {
             const Status status = set_string(n, c.socket);
             return status && (c.socket.front() != '/' || c.socket.size() > k_most_socket_path)
                        ? Error{ErrorCode::invalid,
                                "must be an absolute path of at most 107 characters"}
                        : status;
         }},
    };
    return k_keys;
}

Error unknown_key(const std::string& where, const std::string& key) {
    std::string known;
    for (const Key& entry : keys()) {
        known +=
            (known.empty() ? "" : ", ") + std::string(entry.table) + "." + std::string(entry.key);
    }
    return Error{ErrorCode::invalid, where + ": unknown key " + key + "; known are " + known};
}

Status set_key(const std::string& table, const std::string& key, const toml::node& node,
               Config& config, const std::string& name) {
    for (const auto& known : keys()) {
        if (known.table == table && known.key == key) {
            const Status status = known.set(node, config);
            if (status) {
                return status;
            }
            return status.error().in(key).in(table).in(where(name, node));
        }
    }
    return unknown_key(where(name, node), table + "." + key);
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name, Config base) {
    toml::table document;
    try {
        document = toml::parse(text, name);
    } catch (const toml::parse_error& error) {
        return Error{ErrorCode::invalid, name + ":" + std::to_string(error.source().begin.line) +
                                             ": " + std::string(error.description())};
    }
    for (const auto& [table_key, node] : document) {
        const std::string table(table_key.str());
        const toml::table* entries = node.as_table();
        const bool known = std::any_of(keys().begin(), keys().end(),
                                       [&](const Key& key) { return key.table == table; });
        if (known && entries == nullptr) {
            std::string message = where(name, node);
            message.append(": ")
                .append(table)
                .append(" is a table: write [")
                .append(table)
                .append("]");
            return Error{ErrorCode::invalid, std::move(message)};
        }
        if (!known) {
            return unknown_key(where(name, node), table);
        }
        for (const auto& [key, value] : *entries) {
            if (const Status status = set_key(table, std::string(key.str()), value, base, name);
                !status) {
                return status.error();
            }
        }
    }
    if (base.min_mem && base.max_mem && *base.min_mem > *base.max_mem) {
        return Error{ErrorCode::invalid, name + ": policy.min-mem " + human(*base.min_mem) +
                                             " is above policy.max-mem " + human(*base.max_mem)};
    }
    return base;
}

Result<Config> load_config(const std::string& path, ConfigFile file) {
    std::vector<std::string> files;
    std::error_code err;
    // What is there and cannot be read is an error of read_file, below.
    if (file == ConfigFile::must_exist || std::filesystem::exists(path, err) || err) {
        files.push_back(path);
    }
    std::vector<std::string> drop_ins;
    for (const auto& entry : std::filesystem::directory_iterator(path + ".d", err)) {
        // Hidden ones are an editor's.
        if (entry.path().extension() == ".toml" &&
            !entry.path().filename().string().starts_with('.')) {
            drop_ins.push_back(entry.path().string());
        }
    }
    if (err && err != std::errc::no_such_file_or_directory) {
        return error_from_errno(err.value(), "read " + path + ".d");
    }
    std::sort(drop_ins.begin(), drop_ins.end());
    files.insert(files.end(), drop_ins.begin(), drop_ins.end());

    Config config;
    for (const auto& name : files) {
        const auto type = std::filesystem::status(name, err).type();
        if (type != std::filesystem::file_type::not_found &&
            type != std::filesystem::file_type::regular) {
            // Reading a FIFO would wait for ever.
            return Error{ErrorCode::invalid, name + ": is not a regular file"};
        }
        const auto text = platform::read_file(name);
        if (!text) {
            return text.error();
        }
        auto next = parse_config(*text, name, config);
        if (!next) {
            return next;
        }
        config = *next;
    }
    config.files = std::move(files);
    return config;
}

Policy gentler(const Policy& host, const Config& config) {
    Policy policy = host;
    policy.psi = std::min(host.psi, config.psi.value_or(host.psi));
    policy.min_mem =
        std::min(host.max_mem, std::max(host.min_mem, config.min_mem.value_or(host.min_mem)));
    // The order of Mode is from acting to not acting.
    policy.mode = std::max(host.mode, config.mode.value_or(host.mode));
    return policy;
}

std::optional<Policy> standalone_policy(const Config& config, Bytes ram) {
    if (!config.standalone) {
        return std::nullopt;
    }
    Policy policy;
    policy.max_mem = config.max_mem.value_or(ram);
    policy.min_mem = std::min(config.min_mem.value_or(k_least_min_mem), policy.max_mem);
    policy.psi = config.psi.value_or(policy.psi);
    policy.mode = config.mode.value_or(policy.mode);
    return policy;
}

}  // namespace acma::agent
