// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/fake_agent_asio.h"

#include <array>
#include <chrono>
#include <utility>

#include <unistd.h>

#include "platform/clock.h"
#include "proto/server_session.h"

namespace acma::fakes {

namespace {
namespace asio = host::asio;
using Protocol = asio::local::stream_protocol;
constexpr std::chrono::milliseconds k_dribble{20};
}  // namespace

// The socket and what goes over it; operations in flight hold it.
struct FakeAgent::Line : std::enable_shared_from_this<FakeAgent::Line> {
    Line(asio::io_context& context, const std::string& path, FakeAgent& owner, Manners how)
        : acceptor(context, Protocol::endpoint(path)),
          socket(context),
          timer(context),
          agent(&owner),
          manners(how) {}

    Protocol::acceptor acceptor;
    Protocol::socket socket;
    asio::steady_timer timer;
    FakeAgent* agent;  // nullptr once it is gone
    Manners manners;
    std::optional<proto::ServerSession> session;
    std::array<char, 4096> input{};
    std::string output;
    std::string in_flight;
    bool writing = false;
    uint64_t sequence = 0;
    uint64_t requests = 0;
    uint64_t connections = 0;
    uint64_t bytes_sent = 0;
    std::vector<proto::SetPolicy> policies;

    void accept() {
        acceptor.async_accept(
            [self = shared_from_this()](boost::system::error_code error, Protocol::socket peer) {
                if (error || self->agent == nullptr) {
                    return;
                }
                self->socket = std::move(peer);
                ++self->connections;
                self->begin();
            });
    }

    void begin() {
        proto::AgentInfo info = proto::own_info("fake");
        if (manners == Manners::stock) {
            info.acma.reset();
        }
        session.emplace(info);
        output.clear();
        writing = false;
        read();
        misbehave();
    }

    void close() {
        boost::system::error_code ignored;
        socket.close(ignored);
        timer.cancel();
    }

    void read() {
        socket.async_read_some(
            asio::buffer(input),
            [self = shared_from_this()](boost::system::error_code error, size_t size) {
                if (self->agent == nullptr) {
                    return;
                }
                if (error) {
                    self->close();
                    self->accept();
                    return;
                }
                self->take(std::string_view(self->input.data(), size));
                self->read();
            });
    }

    void take(std::string_view bytes) {
        const Manners now = manners;
        if (now != Manners::honest && now != Manners::refusing && now != Manners::stock &&
            now != Manners::muttering && now != Manners::calling) {
            return;
        }
        while (const auto request = session->next(bytes, platform::now())) {
            ++requests;
            answer(*request);
        }
        output += session->take_output();
        write();
    }

    void answer(const proto::Request& request) {
        using proto::Failure;
        if (manners == Manners::muttering) {
            output += "{\"return\": [[[]]], \"really\"}\n";
        } else if (const auto* policy = std::get_if<proto::SetPolicy>(&request.command)) {
            policies.push_back(*policy);
            if (agent->on_policy) {
                agent->on_policy(*policy);
            }
            if (manners == Manners::refusing) {
                session->reply(request, Failure{std::string(proto::k_generic_error), "I will not"});
                return;
            }
            agent->status.policy = policy->policy;
            agent->status.policy_generation = policy->generation;
            session->reply(request, proto::Return{proto::PolicyInForce{
                                        policy->generation, policy->policy, policy->grant}});
        } else if (manners == Manners::stock) {
            session->reply(request, Failure{std::string(proto::k_command_not_found), "no"});
        } else {
            AgentStatus status = agent->status;
            status.sequence = ++sequence;
            status.uptime = Seconds(sequence);
            if (agent->lie) {
                agent->lie(status);
            }
            session->reply(request, proto::Return{status});
        }
    }

    // What comes without being asked for.
    void misbehave() {
        switch (manners) {
            case Manners::flooding:
                output = proto::encode(proto::Reply{proto::Return{agent->status}, {}}) + "\n";
                while (output.size() < input.size()) {
                    output += output;
                }
                break;
            case Manners::calling:
                while (output.size() < input.size()) {
                    output += proto::encode_event(proto::k_event_at_grant) + "\n";
                }
                break;
            case Manners::garbage:
                for (size_t i = 0; i < input.size(); ++i) {
                    output.push_back(static_cast<char>((i * 131 + sequence) % 251));
                }
                ++sequence;
                break;
            case Manners::dribbling:
                output.assign(1, sequence++ == 0 ? '\xFF' : '{');
                break;
            default:
                return;
        }
        write();
    }

    void write() {
        if (writing || output.empty()) {
            return;
        }
        writing = true;
        in_flight = std::exchange(output, {});
        asio::async_write(
            socket, asio::buffer(in_flight),
            [self = shared_from_this()](boost::system::error_code error, size_t size) {
                self->bytes_sent += size;
                self->writing = false;
                if (!error && self->agent != nullptr) {
                    self->written();
                }
            });
    }

    void written() {
        if (!output.empty()) {
            write();
        } else if (manners == Manners::dribbling) {
            timer.expires_after(k_dribble);
            timer.async_wait([self = shared_from_this()](boost::system::error_code cancelled) {
                if (!cancelled && self->agent != nullptr) {
                    self->misbehave();
                }
            });
        } else {
            misbehave();
        }
    }
};

FakeAgent::FakeAgent(asio::io_context& context, const std::string& path, Manners manners) {
    ::unlink(path.c_str());
    line_ = std::make_shared<Line>(context, path, *this, manners);
    line_->accept();
}

FakeAgent::~FakeAgent() {
    line_->agent = nullptr;
    boost::system::error_code ignored;
    line_->acceptor.close(ignored);
    line_->close();
}

const std::vector<proto::SetPolicy>& FakeAgent::policies() const {
    return line_->policies;
}
uint64_t FakeAgent::requests() const {
    return line_->requests;
}
uint64_t FakeAgent::connections() const {
    return line_->connections;
}
uint64_t FakeAgent::bytes_sent() const {
    return line_->bytes_sent;
}
void FakeAgent::behave(Manners manners) {
    line_->manners = manners;
    if (line_->socket.is_open()) {
        line_->misbehave();
    }
}
void FakeAgent::hang_up() {
    line_->close();
}

}  // namespace acma::fakes
