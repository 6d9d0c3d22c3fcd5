// SPDX-License-Identifier: Apache-2.0
#include "host-controller/agent_asio/agent_links_asio.h"

#include <algorithm>
#include <optional>
#include <random>
#include <string>

#include "host-controller/agent_asio/alarm_clock_asio.h"
#include "host-controller/agent_asio/dialogue.h"
#include "host-controller/agent_asio/time_allowance.h"
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
// The alarm is set no further ahead than the next question, though its answer may take longer: so
// it need not be set again when the answer comes.
constexpr Micros k_longest_sleep = k_status_every;
constexpr Micros k_apart{1'000};
// Of one link's input at a time, before the others' turn: four statuses. What nobody has read
// stays in the socket, and then in the guest.
constexpr size_t k_input = size_t{8} * 1024;

int64_t random_id() {
    std::random_device source;
    return static_cast<int64_t>((uint64_t{source()} << 32U) | source());
}
}  // namespace

// What all links share.
struct AgentLinksAsio::Desk {
    Desk(asio::io_context& reactor, Sink to)
        : context(reactor), sink(std::move(to)), alarms(reactor), input(k_input, '\0') {}

    asio::io_context& context;
    const Sink sink;
    AlarmClock alarms;
    std::string input;  // of the link whose turn it is
};

// Shared with the operations in flight; `closed_` ends them all.
class AgentLinksAsio::Link : public AlarmClock::Sleeper, public std::enable_shared_from_this<Link> {
  public:
    Link(std::shared_ptr<Desk> desk, VmId vm)
        : vm_(std::move(vm)), desk_(std::move(desk)), socket_(desk_->context) {}

    // `first_in`: where there was no connection yet.
    void order(const TalkToAgent& order, Micros first_in) {
        const bool same_path = order_ && order_->path == order.path;
        const Micros connect_in = order_ ? Micros(0) : first_in;
        order_ = order;
        if (!same_path) {
            retry_in_ = Micros(0);
            reconnect_in(connect_in);
        } else if (dialogue_) {
            dialogue_->order(order, platform::now());
            continue_dialogue();
        }
    }

    void close() {
        closed_ = true;
        drop_connection();
    }

    void wake(Time now) override {
        if (closed_) {
            return;
        }
        if (connect_at_ && *connect_at_ <= now) {
            connect_at_.reset();
            connect();
        } else if (dialogue_ && !rests_until_) {
            on_time(now);
        } else if (dialogue_ && *rests_until_ <= now) {
            rests_until_.reset();
            on_readable({});  // before its time counts: the answer may lie there
        }
        set_alarm();
    }

    [[nodiscard]] Micros cost() const { return allowance_.total(); }

  private:
    void tell(const AgentEvent& event) {
        if (!closed_) {
            desk_->sink(vm_, event);
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
        rests_until_.reset();
        writing_ = false;
        output_.clear();
        ++connection_;
    }

    void set_alarm() {
        if (closed_) {
            return;
        }
        if (connect_at_) {
            desk_->alarms.wake(shared_from_this(), *connect_at_);
        } else if (rests_until_) {
            desk_->alarms.wake(shared_from_this(), *rests_until_);
        } else if (const auto due = dialogue_ ? dialogue_->next_wake() : std::nullopt) {
            desk_->alarms.wake(shared_from_this(),
                               std::min(*due, platform::now() + k_longest_sleep));
        }
    }

    void reconnect_in(Micros delay) {
        drop_connection();
        connect_at_ = platform::now() + delay;
        set_alarm();
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
        socket_.async_wait(Socket::wait_read, [self = shared_from_this(), connection = connection_](
                                                  boost::system::error_code error) {
            if (!self->closed_ && connection == self->connection_) {
                self->on_readable(error);
            }
        });
    }

    void on_readable(boost::system::error_code error) {
        const Time start = platform::now();
        take_input(error, start);
        const Time now = platform::now();
        allowance_.charge(now - start, now);
        if (!dialogue_) {  // closed, or by another order of the VM
            return;
        }
        rests_until_ = allowance_.rests_until(now);
        if (rests_until_) {
            tell(AgentCostly{});
            set_alarm();
        } else {
            read();
        }
    }

    void take_input(boost::system::error_code error, Time now) {
        size_t size = 0;
        if (!error) {
            size = socket_.read_some(asio::buffer(desk_->input), error);
        }
        if (error == asio::error::would_block) {
            return;
        }
        if (error) {
            return fail(error == asio::error::eof ? "closed by QEMU" : error.message());
        }
        const auto events = dialogue_->on_bytes(std::string_view(desk_->input.data(), size), now);
        if (dialogue_->hostile()) {
            return punish(events);
        }
        if (!events.empty()) {
            retry_in_ = Micros(0);
            held_or_silent_told_ = false;
        }
        tell_all(events);
        if (dialogue_) {  // the VM may have given another order
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

    void on_time(Time now) {
        const auto events = dialogue_->on_time(now);
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
        // port) nothing piles up. But a line that is half written must be ended, or its rest would
        // be missing: the sync's 0xFF does that.
        output_ = more.starts_with(proto::k_sentinel) ? std::move(more) : output_ + more;
        write();
        set_alarm();
    }

    // Most of the time the socket takes it at once. What is wrong with it, reading tells.
    void write() {
        if (writing_ || output_.empty()) {
            return;
        }
        boost::system::error_code error;
        const size_t written = socket_.write_some(asio::buffer(output_), error);
        output_.erase(0, written);
        if (output_.empty() || (error && error != asio::error::would_block)) {
            return;
        }
        writing_ = true;
        socket_.async_wait(
            Socket::wait_write,
            [self = shared_from_this(), connection = connection_](boost::system::error_code) {
                if (!self->closed_ && connection == self->connection_) {
                    self->writing_ = false;
                    self->write();
                }
            });
    }

    const VmId vm_;
    const std::shared_ptr<Desk> desk_;
    Socket socket_;
    std::optional<Time> connect_at_;  // while not connected
    std::optional<TalkToAgent> order_;
    std::optional<AgentDialogue> dialogue_;  // while connected
    // It has cost too much: what it sends stays in the socket, and then in the guest; an answer
    // that lies there is not late.
    std::optional<Time> rests_until_;
    TimeAllowance allowance_;
    uint64_t connection_ = 0;  // tells operations of an earlier connection
    Time connected_at_;
    bool closed_ = false;
    bool held_or_silent_told_ = false;
    bool writing_ = false;
    std::string output_;
    Micros retry_in_{0};
    Micros penalty_{0};
};

AgentLinksAsio::AgentLinksAsio(asio::io_context& context, Sink sink)
    : desk_(std::make_shared<Desk>(context, std::move(sink))) {}

AgentLinksAsio::~AgentLinksAsio() {
    for (const auto& [vm, link] : links_) {
        link->close();
    }
}

void AgentLinksAsio::talk(const VmId& vm, const TalkToAgent& order) {
    // When many are found at once they are asked over the whole second, not all at once.
    const Micros turn = static_cast<Micros::rep>(links_.size()) * k_apart % k_status_every;
    std::shared_ptr<Link>& link = links_[vm];
    if (!link) {
        link = std::make_shared<Link>(desk_, vm);
    }
    link->order(order, turn);
}

void AgentLinksAsio::leave(const VmId& vm) {
    const auto link = links_.find(vm);
    if (link != links_.end()) {
        link->second->close();
        links_.erase(link);
    }
}

Micros AgentLinksAsio::cost(const VmId& vm) const {
    const auto link = links_.find(vm);
    return link == links_.end() ? Micros(0) : link->second->cost();
}

}  // namespace acma::host
