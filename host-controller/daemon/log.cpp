// SPDX-License-Identifier: Apache-2.0
#include "host-controller/daemon/log.h"

#include <cstdlib>

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

namespace acma::host {

namespace {
// "<4>" for a warning: what the journal makes a priority of.
class JournalPrefix final : public spdlog::custom_flag_formatter {
  public:
    void format(const spdlog::details::log_msg& message, const std::tm&,
                spdlog::memory_buf_t& out) override {
        const char digit = message.level >= spdlog::level::critical ? '2'
                           : message.level >= spdlog::level::err    ? '3'
                           : message.level >= spdlog::level::warn   ? '4'
                           : message.level >= spdlog::level::info   ? '6'
                                                                    : '7';
        out.push_back('<');
        out.push_back(digit);
        out.push_back('>');
    }
    [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
        return std::make_unique<JournalPrefix>();
    }
};

spdlog::level::level_enum level_of(const std::string& word) {
    return spdlog::level::from_str(word == "error" ? "err" : word);
}
}  // namespace

std::shared_ptr<spdlog::logger> make_log(const std::string& level) {
    auto log =
        std::make_shared<spdlog::logger>("acma", std::make_shared<spdlog::sinks::stderr_sink_st>());
    auto formatter = std::make_unique<spdlog::pattern_formatter>();
    formatter->add_flag<JournalPrefix>('*');
    formatter->set_pattern(std::getenv("JOURNAL_STREAM") != nullptr ? "%*%v"
                                                                    : "%Y-%m-%d %H:%M:%S.%e %l %v");
    log->set_formatter(std::move(formatter));
    log->set_level(level_of(level));
    log->flush_on(spdlog::level::debug);
    return log;
}

std::shared_ptr<spdlog::logger> log_of(const spdlog::logger& log, const std::string& part,
                                       const std::map<std::string, std::string>& levels) {
    auto of = std::make_shared<spdlog::logger>(log);  // shares its sink
    if (const auto level = levels.find(part); level != levels.end()) {
        of->set_level(level_of(level->second));
    }
    return of;
}

}  // namespace acma::host
