// SPDX-License-Identifier: Apache-2.0
// Both ends of a channel under a script of noise, lost bytes and passing time; whatever happened,
// they find each other again, unless the controller has declared the guest hostile.
//
// The script: pairs of an operation and a length, each followed by that many bytes of noise where
// the operation takes some.
#include <algorithm>

#include "proto/client_session.h"
#include "proto/server_session.h"
#include "tests/fuzz/fuzz.h"

using acma::fuzz::require;
using namespace acma;
using namespace acma::proto;

namespace {
class Channel {
  public:
    void play(std::string_view script) {
        while (script.size() >= 2) {
            const auto operation = static_cast<uint8_t>(script[0]);
            const auto length = static_cast<uint8_t>(script[1]);
            script.remove_prefix(2);
            const std::string_view noise = script.substr(0, length);
            switch (operation % 8) {
                case 0:
                    to_client(noise);
                    script.remove_prefix(noise.size());
                    break;
                case 1:
                    to_server(noise);
                    script.remove_prefix(noise.size());
                    break;
                case 2:
                    to_server(client_.take_output());
                    break;
                case 3:
                    to_client(server_.take_output());
                    break;
                case 4:
                    (void)client_.take_output();  // lost
                    break;
                case 5:
                    (void)server_.take_output();  // lost
                    break;
                case 6:
                    now_ += Micros(int64_t{length} * length * 1000);
                    check(client_.on_time(now_));
                    break;
                default:
                    ask();
                    break;
            }
            require(!client_.ready() || !client_.next_deadline(), "nothing is awaited when ready");
        }
    }

    void must_recover() {
        for (int tries = 0; tries < 3 && client_.next_deadline(); ++tries) {
            now_ = std::max(now_, *client_.next_deadline());
            check(client_.on_time(now_));
            for (int turns = 0; turns < 4; ++turns) {
                to_server(client_.take_output());
                to_client(server_.take_output());
            }
        }
        require(client_.ready() || hostile_, "the channel recovers");
    }

  private:
    void to_client(std::string_view bytes) { check(client_.on_bytes(bytes, now_)); }

    void to_server(std::string_view bytes) {
        while (auto request = server_.next(bytes, now_)) {
            const auto* set = std::get_if<SetPolicy>(&request->command);
            if (set != nullptr) {
                require(validate(set->policy).ok(), "only valid policies come through");
                server_.reply(*request,
                              Return{PolicyInForce{set->generation, set->policy, set->grant}});
            } else {
                require(std::holds_alternative<GetStatus>(request->command), "no other command");
                server_.reply(*request, Return{AgentStatus{}});
            }
        }
        require(bytes.empty(), "all bytes are taken");
    }

    void ask() {
        if (client_.send(GetStatus{}, now_).ok()) {
            ++asked_;
        }
    }

    void check(const std::vector<ClientEvent>& events) {
        for (const ClientEvent& event : events) {
            require(!hostile_, "nothing comes after Hostile");
            if (std::holds_alternative<Answered>(event) ||
                std::holds_alternative<Unanswered>(event)) {
                require(asked_ > 0, "an answer belongs to a question");
                --asked_;
            }
            hostile_ = std::holds_alternative<Hostile>(event);
        }
    }

    Time now_{Seconds(1000)};
    ClientSession client_{7, now_};
    ServerSession server_{own_info("0.1.0")};
    uint64_t asked_ = 0;
    bool hostile_ = false;
};
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    Channel channel;
    channel.play(acma::fuzz::as_text(data, size));
    channel.must_recover();
    return 0;
}
