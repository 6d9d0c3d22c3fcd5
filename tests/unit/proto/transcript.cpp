// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/proto/transcript.h"

#include <fstream>

#include <gtest/gtest.h>

#include "proto/framing.h"
#include "proto/json.h"

namespace acma::proto {

namespace {
std::string path_of(const std::string& name) {
    return std::string(ACMA_FIXTURES) + "/proto/" + name;
}
}  // namespace

Transcript load_transcript(const std::string& name) {
    std::ifstream file(path_of(name));
    EXPECT_TRUE(file) << path_of(name);
    Transcript transcript;
    for (std::string line; std::getline(file, line);) {
        const auto json = parse_json(line, {.bytes = 100'000, .depth = 2, .values = 10});
        EXPECT_TRUE(json.ok()) << line;
        if (json) {
            transcript.push_back({.from = (*json)["from"].asString(),
                                  .sentinel = json->get("sentinel", false).asBool(),
                                  .text = (*json)["text"].asString()});
        }
    }
    return transcript;
}

void save_transcript(const std::string& name, const Transcript& transcript) {
    std::ofstream file(path_of(name));
    for (const Step& step : transcript) {
        Json::Value json;
        json["from"] = step.from;
        json["text"] = step.text;
        if (step.sentinel) {
            json["sentinel"] = true;
        }
        file << write_json(json, Layout::line) << "\n";
    }
    EXPECT_TRUE(file) << path_of(name);
}

void append_steps(Transcript& transcript, const std::string& from, std::string_view bytes) {
    LineReader reader(1'000'000);
    bool sentinel = false;
    while (const auto frame = reader.next(bytes)) {
        if (frame->kind == Frame::Kind::line) {
            transcript.push_back({.from = from, .sentinel = sentinel, .text = frame->text});
        }
        sentinel = frame->kind == Frame::Kind::sentinel;
    }
}

}  // namespace acma::proto
