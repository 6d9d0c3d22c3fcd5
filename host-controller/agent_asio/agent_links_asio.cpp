// SPDX-License-Identifier: Apache-2.0
#include "host-controller/agent_asio/agent_links_asio.h"

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <string>

#include "host-controller/agent_asio/dialogue.h"
#include "host-controller/agent_asio/unix_sockets.h"
#include "platform/clock.h"
#include "platform/file.h"

namespace acma::host {

namespace {
using Socket = asio::local::stream_protocol::socket;

constexpr Micros k_first_retry{1'000'000};
constexpr Micros k_longest_retry{30'000'000};
// A guest that was over its budget is left in peace, then tried again.
constexpr Micros k_first_penalty{60'000'000};
constexpr Micros k_longest_penalty{600'000'000};
// The address of a unix socket holds 107 characters (man unix(7)).
constexpr size_t k_max_path = 107;

int64_t random_id() {
    std::random_device source;
    return static_cast<int64_t>((uint64_t{source()} << 32U) | source());
}
}  // namespace

// Shared with the operations in flight; `closed_` ends them all.
class AgentLinksAsio::Link : public std::enable_shared_from_this<Link> {
  public:
    Link(asio::io_context& context, VmId vm, Sink sink)
        : vm_(std::move(vm)), sink_(std::move(sink)), socket_(context), timer_(context) {}

    void order(const TalkToAgent& order) {
        const bool same_path = order_ && order_->path == order.path;
        order_ = order;
        if (!same_path) {
            retry_in_ = Micros(0);
            reconnect_in(Micros(0));
        } else if (dialogue_) {
            dialogue_->order(order, platform::now());
            continue_dialogue();
        }
    }

    void close() {
        closed_ = true;
        drop_connection();
        timer_.cancel();
    }

  private:
    void tell(const AgentEvent& event) {
        if (!closed_) {
            sink_(vm_, event);
        }
    }

    void tell_all(const AgentDialogue::Events& events) {
        for (const AgentEvent& event : events) {
            tell(event);
        }
    }

    void drop_connection() {
        boost::system::error_code ignored;
        socket_.close(ignored);
        dialogue_.reset();
        writing_ = false;
        output_.clear();
        ++connection_;
    }

    // Runs `step` after `delay` unless the link is closed or another step was set meanwhile (a
    // wait that is over can no longer be cancelled, hence the number).
    template <typename Step>
    void after(Micros delay, Step step) {
        timer_.expires_after(delay);
        timer_.async_wait(
            [self = shared_from_this(), step, number = ++step_](boost::system::error_code error) {
                if (!error && !self->closed_ && number == self->step_) {
                    (*self.*step)();
                }
            });
    }

    void reconnect_in(Micros delay) {
        drop_connection();
        after(delay, &Link::connect);
    }

    void back_off(AgentDown down, Micros first, Micros longest) {
        retry_in_ = std::clamp(retry_in_ * 2, first, longest);
        reconnect_in(retry_in_);
        tell(down);
    }

    void fail(const std::string& why) {
        back_off({AgentDown::Why::unreachable, "channel " + order_->path + ": " + why},
                 k_first_retry, k_longest_retry);
    }

    // Non-blocking: a unix socket connects at once, or its queue is full (EAGAIN).
    void connect() {
        if (order_->path.size() > k_max_path) {
            return fail("the path is longer than 107 characters");
        }
        boost::system::error_code error;
        if (socket_.open(asio::local::stream_protocol(), error); !error) {
            socket_.non_blocking(true, error);
        }
        if (!error) {
            socket_.connect(asio::local::stream_protocol::endpoint(order_->path), error);
        }
        if (error == asio::error::try_again || error == asio::error::would_block) {
            return back_off(held(), k_first_retry, k_longest_retry);
        }
        if (error) {
            return fail(error.message());
        }
        dialogue_.emplace(random_id(), *order_, platform::now());
        connected_at_ = platform::now();
        held_or_silent_told_ = false;
        read();
        continue_dialogue();
    }

    [[nodiscard]] AgentDown held() const {
        return {AgentDown::Why::held, "another client holds the channel " + order_->path +
                                          "; only one can talk to the agent at a time"};
    }

    void read() {
        socket_.async_read_some(asio::buffer(input_),
                                [self = shared_from_this(), connection = connection_](
                                    boost::system::error_code error, size_t size) {
                                    if (!self->closed_ && connection == self->connection_) {
                                        self->on_read(error, size);
                                    }
                                });
    }

    void on_read(boost::system::error_code error, size_t size) {
        if (error) {
            return fail(error == asio::error::eof ? "closed by QEMU" : error.message());
        }
        const auto events =
            dialogue_->on_bytes(std::string_view(input_.data(), size), platform::now());
        if (dialogue_->hostile()) {
            punish(events);
            return;
        }
        if (!events.empty()) {
            retry_in_ = Micros(0);
            held_or_silent_told_ = false;
        }
        tell_all(events);
        if (dialogue_) {  // the VM may have given another order
            read();
            continue_dialogue();
        }
    }

    void punish(const AgentDialogue::Events& events) {
        const bool behaved_long = platform::now() - connected_at_ > k_longest_penalty;
        penalty_ =
            std::clamp(behaved_long ? Micros(0) : penalty_ * 2, k_first_penalty, k_longest_penalty);
        reconnect_in(penalty_);
        tell_all(events);
    }

    void on_wake() {
        if (!dialogue_) {
            return;
        }
        const auto events = dialogue_->on_time(platform::now());
        if (dialogue_->unanswered() && !std::exchange(held_or_silent_told_, true)) {
            tell(why_unanswered());
        }
        tell_all(events);
        if (dialogue_) {
            continue_dialogue();
        }
    }

    [[nodiscard]] AgentDown why_unanswered() const {
        const auto sockets = platform::read_file("/proc/net/unix");
        if (sockets && waits_for_accept(*sockets, order_->path)) {
            return held();
        }
        return {AgentDown::Why::silent,
                "no agent answers on the channel: none runs, the guest is still booting, or it "
                "hangs"};
    }

    void continue_dialogue() {
        std::string more = dialogue_->take_output();
        // A sync makes all before it stale: while QEMU does not read (the guest has not opened the
        // port) nothing piles up.
        const bool afresh = more.starts_with(proto::k_sentinel);
        output_ = afresh ? std::move(more) : output_ + more;
        write();
        if (const auto wake = dialogue_->next_wake()) {
            after(std::max(*wake - platform::now(), Micros(0)), &Link::on_wake);
        } else {
            timer_.cancel();
        }
    }

    void write() {
        if (writing_ || output_.empty()) {
            return;
        }
        writing_ = true;
        in_flight_ = std::exchange(output_, {});
        asio::async_write(socket_, asio::buffer(in_flight_),
                          [self = shared_from_this(), connection = connection_](
                              boost::system::error_code error, size_t) {
                              if (self->closed_ || connection != self->connection_) {
                                  return;
                              }
                              self->writing_ = false;
                              if (error) {
                                  self->fail(error.message());
                              } else {
                                  self->write();
                              }
                          });
    }

    const VmId vm_;
    const Sink sink_;
    Socket socket_;
    asio::steady_timer timer_;
    std::optional<TalkToAgent> order_;
    std::optional<AgentDialogue> dialogue_;  // while connected
    uint64_t connection_ = 0;                // tells operations of an earlier connection
    uint64_t step_ = 0;                      // tells an earlier step of the timer
    Time connected_at_;
    bool closed_ = false;
    bool held_or_silent_told_ = false;
    bool writing_ = false;
    std::string output_;
    std::string in_flight_;
    std::array<char, 4 * 1024> input_{};
    Micros retry_in_{0};
    Micros penalty_{0};
};

AgentLinksAsio::AgentLinksAsio(asio::io_context& context, Sink sink)
    : context_(context), sink_(std::move(sink)) {}

AgentLinksAsio::~AgentLinksAsio() {
    for (const auto& [vm, link] : links_) {
        link->close();
    }
}

void AgentLinksAsio::talk(const VmId& vm, const TalkToAgent& order) {
    std::shared_ptr<Link>& link = links_[vm];
    if (!link) {
        link = std::make_shared<Link>(context_, vm, sink_);
    }
    link->order(order);
}

void AgentLinksAsio::leave(const VmId& vm) {
    const auto link = links_.find(vm);
    if (link != links_.end()) {
        link->second->close();
        links_.erase(link);
    }
}

}  // namespace acma::host
