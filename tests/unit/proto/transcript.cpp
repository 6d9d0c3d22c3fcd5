// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/proto/transcript.h"

#include <fstream>

#include <gtest/gtest.h>
#include <json/writer.h>

#include "proto/framing.h"
#include "proto/json.h"

namespace acma::proto {

namespace {
std::string path_of(const std::string& name) {
    return std::string(ACMA_FIXTURES) + "/proto/" + name;
}
}  // namespace

Json::Value parsed(const std::string& text) {
    auto json = parse_json(text, {.bytes = 1'000'000, .depth = 16, .values = 10'000});
    EXPECT_TRUE(json.ok()) << text;
    return json ? *json : Json::Value();
}

std::string sorted(const Json::Value& value) {
    Json::StreamWriterBuilder builder;
    builder["indentation"] = "";
    return Json::writeString(builder, value);
}

Transcript load_transcript(const std::string& name) {
    std::ifstream file(path_of(name));
    EXPECT_TRUE(file) << path_of(name);
    Transcript transcript;
    for (std::string line; std::getline(file, line);) {
        const Json::Value json = parsed(line);
        transcript.push_back({.from = json["from"].asString(),
                              .sentinel = json.get("sentinel", false).asBool(),
                              .text = json["text"].asString()});
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
        file << sorted(json) << "\n";
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
