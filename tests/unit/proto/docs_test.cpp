// SPDX-License-Identifier: Apache-2.0
// docs/protocol.md against the field lists: every table has exactly their rows.
#include <fstream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "proto/client_session.h"
#include "proto/schema.h"
#include "proto/server_session.h"
#include "proto/wire_limits.h"

namespace acma::proto {
namespace {

struct Section {
    std::vector<FieldInfo> rows;
    std::string returns;
    std::string text;
};

std::string trimmed(std::string text) {
    std::erase(text, '`');
    text.erase(0, text.find_first_not_of(' '));
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
}

// "| `name` | type | bounds | yes | meaning |" -> five cells.
std::vector<std::string> cells_of(const std::string& line) {
    std::vector<std::string> cells;
    std::istringstream stream(line.substr(1));
    for (std::string cell; std::getline(stream, cell, '|');) {
        cells.push_back(trimmed(cell));
    }
    return cells;
}

// By heading of the third level.
std::map<std::string, Section> sections_of_the_document() {
    std::ifstream file(ACMA_PROTOCOL_MD);
    EXPECT_TRUE(file) << ACMA_PROTOCOL_MD;
    std::map<std::string, Section> sections;
    std::string heading;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("#")) {
            heading = line.starts_with("### ") ? line.substr(4) : "";
        }
        Section& section = sections[heading];
        section.text += line + "\n";
        if (line.starts_with("| `")) {
            const auto cells = cells_of(line);
            EXPECT_EQ(cells.size(), 5U) << line;
            if (cells.size() == 5) {
                section.rows.push_back({cells[0], cells[1], cells[2], cells[3] == "yes"});
                EXPECT_TRUE(cells[3] == "yes" || cells[3] == "no") << line;
            }
        }
        if (line.starts_with("Returns: ")) {
            section.returns = line.substr(9);
        }
    }
    return sections;
}

std::string text_of(const std::vector<FieldInfo>& rows) {
    std::string text;
    for (const FieldInfo& row : rows) {
        text += "| `" + row.name + "` | " + row.type + " | " + row.bounds + " | " +
                (row.required ? "yes" : "no") + " |\n";
    }
    return text;
}

TEST(Docs, HaveATableForEachCommand) {
    auto sections = sections_of_the_document();
    for (const CommandSchema& command : command_schemas()) {
        const Section& section = sections[command.name];
        EXPECT_EQ(text_of(section.rows), text_of(command.arguments.fields)) << command.name;
        EXPECT_EQ(section.returns, command.returns) << command.name;
        sections.erase(command.name);
    }
    for (const auto& [heading, section] : sections) {
        EXPECT_TRUE(section.returns.empty()) << heading << " is no command of ours";
    }
}

TEST(Docs, HaveATableForEachObject) {
    auto sections = sections_of_the_document();
    std::vector<ObjectInfo> all = wire_objects();
    for (ObjectInfo& object : api_objects()) {
        all.push_back(std::move(object));
    }
    for (const ObjectInfo& object : all) {
        const std::string heading = "object: " + object.title;
        EXPECT_EQ(text_of(sections[heading].rows), text_of(object.fields)) << heading;
        sections.erase(heading);
    }
    for (const auto& [heading, section] : sections) {
        EXPECT_FALSE(heading.starts_with("object: ")) << heading << " does not exist";
    }
}

TEST(Docs, StateTheLimits) {
    std::string text;
    for (const auto& [heading, section] : sections_of_the_document()) {
        text += section.text;
    }
    for (const size_t limit : {k_max_request_bytes, k_max_reply_bytes, k_max_depth,
                               k_max_request_values, k_max_reply_values}) {
        EXPECT_NE(text.find(" " + std::to_string(limit) + " |"), std::string::npos) << limit;
    }
    static_assert(k_client_input_burst_bytes == 512 * 1024, "docs/protocol.md says 512 KiB");
    static_assert(k_client_input_byte_interval == Micros(30), "docs/protocol.md says 33 kB/s");
    static_assert(k_client_offence_burst == 16, "docs/protocol.md says 16 lines");
    static_assert(k_client_offence_interval == Seconds(10), "docs/protocol.md says 10 s");
    static_assert(k_reply_timeout == Seconds(5), "docs/protocol.md says 5 s");
    static_assert(k_first_sync_timeout == Seconds(5), "docs/protocol.md says 5 s");
    static_assert(k_longest_sync_timeout == Seconds(60), "docs/protocol.md says 60 s");
    static_assert(k_max_server_output_bytes == 512 * 1024, "docs/protocol.md says 512 KiB");
    static_assert(k_server_input_burst_bytes == 128 * 1024, "docs/protocol.md says 128 KiB");
    static_assert(k_server_input_byte_interval == Micros(125), "docs/protocol.md says 8 kB/s");
    static_assert(k_max_id_bytes == 64, "docs/protocol.md says 64 bytes");
}

}  // namespace
}  // namespace acma::proto
