// SPDX-License-Identifier: Apache-2.0
#include "guest-agent/reclaimer.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>

#include "engine/damon/regions.h"
#include "engine/damon/validate.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "platform/proc.h"

namespace acma::agent {

namespace {

constexpr size_t k_kdamond = 0;
constexpr Bytes k_page{4096};
// At the calm pace what was done is only read this often: on 6.12 reading takes a tenth of a
// second.
constexpr Micros k_totals_age_calm = Seconds(2);
// For a step of the clearing pass, and for all of them: without it page-out still works, later.
constexpr Micros k_clearing_step_patience = Seconds(1);
constexpr Micros k_clearing_patience = Seconds(10);
// A rate that differs by less is not worth a commit.
constexpr uint64_t k_rate_step_divisor = 8;

bool nearly_equal(Bytes a, Bytes b) {
    const Bytes apart = a > b ? a - b : b - a;
    return apart * k_rate_step_divisor < std::max(a, b);
}

bool module_enabled(const ReclaimerPaths& paths, const std::string& module) {
    const auto text = platform::read_file(paths.modules + "/" + module + "/parameters/enabled");
    return text && text->starts_with('Y');
}

// As a share of RAM, rounded down. Without it page-out does not pause.
Permil low_watermarks(const std::string& zoneinfo) {
    const auto text = platform::read_file(zoneinfo);
    const auto zones =
        text ? platform::parse_zoneinfo(*text, k_page) : Result<platform::ZoneInfo>(text.error());
    return zones ? Permil(detail::mul_div_saturating(zones->low_watermarks.count(), 1000,
                                                     zones->managed.count()))
                 : Permil(0);
}

// The record is text, one fact a line, in /run: a reboot clears it, and pids with it.
std::string to_text(const damon::OwnershipRecord& record) {
    std::string text;
    for (const auto& owned : record.kdamonds) {
        text += "kdamond " + std::to_string(owned.index) + " " + std::to_string(owned.shape) + " " +
                std::to_string(owned.pid) + "\n";
    }
    return text + (record.restore_damon_stat ? "restore_damon_stat\n" : "");
}

damon::OwnershipRecord parse_record(const std::string& text) {
    damon::OwnershipRecord record;
    std::istringstream words(text);
    for (std::string word; words >> word;) {
        damon::OwnedKdamond owned;
        if (word == "restore_damon_stat") {
            record.restore_damon_stat = true;
        } else if (word == "kdamond" && words >> owned.index >> owned.shape >> owned.pid) {
            record.kdamonds.push_back(owned);
        }
    }
    return record;
}

Status write_record(const std::string& path, const damon::OwnershipRecord& record) {
    std::error_code err;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), err);
    const std::string next = path + ".new";
    std::ofstream file(next, std::ios::trunc);
    file << to_text(record);
    file.close();
    if (!file) {
        return Error{ErrorCode::io, "cannot write " + next};
    }
    std::filesystem::rename(next, path, err);
    return err ? Status(error_from_errno(err.value(), "rename " + next)) : Status();
}

damon::OwnershipRecord noted_record(const ReclaimerPaths& paths) {
    const auto noted = platform::read_file(paths.owner);
    return noted ? parse_record(*noted) : damon::OwnershipRecord{};
}

Result<damon::Ownership> look_whose(const platform::DamonSysfs& sysfs, const ReclaimerPaths& paths,
                                    const damon::OwnershipRecord& record) {
    const auto tree = sysfs.read_tree();
    if (!tree) {
        const Error error = tree.error().in("reading DAMON's tree");
        // Files come and go while somebody else sets DAMON up.
        return error.code == ErrorCode::not_found ? Error{ErrorCode::busy, error.message} : error;
    }
    return damon::decide_ownership(*tree, record,
                                   {.stat = module_enabled(paths, "damon_stat"),
                                    .reclaim = module_enabled(paths, "damon_reclaim"),
                                    .lru_sort = module_enabled(paths, "damon_lru_sort")});
}

// Error: somebody else uses DAMON.
Status usable(const damon::Ownership& ownership) {
    const bool taken =
        ownership.claim == damon::Claim::foreign || ownership.claim == damon::Claim::busy;
    return taken ? Status(Error{ErrorCode::busy, ownership.reason}) : Status();
}

// Somebody else's kdamond stands where ours was: to make one destroys all others.
bool replaced_ours(const damon::Ownership& ownership) {
    return ownership.claim == damon::Claim::foreign && ownership.ours.empty();
}

// A state or pid file, or "off" written to it: there is no kdamond that runs (6.12 answers
// permission when it has ended). Any other error may pass, and says nothing.
bool means_off(ErrorCode code) {
    return code == ErrorCode::not_found || code == ErrorCode::permission ||
           code == ErrorCode::invalid;
}

}  // namespace

Result<std::unique_ptr<Reclaimer>> Reclaimer::open(ReclaimerPaths paths, platform::SysfsIo io) {
    const platform::DamonSysfs sysfs(paths.damon_admin, std::move(io));
    if (!sysfs.present()) {
        return Error{ErrorCode::unsupported,
                     "this kernel has no DAMON in sysfs (" + paths.damon_admin +
                         "; needs CONFIG_DAMON_SYSFS and CONFIG_DAMON_PADDR, Linux 6.12 or newer)"};
    }
    const auto iomem = platform::read_file(paths.iomem);
    auto ram =
        iomem ? damon::parse_iomem(*iomem) : Result<std::vector<damon::Region>>(iomem.error());
    if (ram) {
        ram = damon::target_regions(*ram);
    }
    if (!ram) {
        return ram.error();
    }
    std::vector<platform::PhysicalRange> ranges;
    for (const auto& region : *ram) {
        ranges.push_back({.start = Bytes(region.start.count()), .end = Bytes(region.end.count())});
    }
    restore_page_lists(paths.page_lists);
    auto record = noted_record(paths);
    const auto ownership = look_whose(sysfs, paths, record);
    if (!ownership) {
        return ownership.error();
    }
    if (const Status status = usable(*ownership); !status) {
        return status.error();
    }
    for (const size_t index : ownership->ours) {
        (void)sysfs.command(index, damon::StateCommand::off);  // fails where it is off already
    }
    auto features = sysfs.detect_features();
    if (!features) {
        return features.error();
    }
    return std::unique_ptr<Reclaimer>(
        new Reclaimer(std::move(paths), sysfs, *features, std::move(ranges), std::move(record)));
}

Reclaimer::Reclaimer(ReclaimerPaths paths, platform::DamonSysfs sysfs, damon::Features features,
                     std::vector<platform::PhysicalRange> ram, damon::OwnershipRecord record)
    : paths_(std::move(paths)),
      sysfs_(std::move(sysfs)),
      features_(features),
      ram_(std::move(ram)),
      record_(std::move(record)),
      worker_([this] { work(); }) {}

Reclaimer::~Reclaimer() {
    (void)stop_now();
    {
        const std::lock_guard lock(mutex_);
        quit_ = true;
    }
    changed_.notify_all();
    worker_.join();
    // The worker may have been about to switch on when it was told to stop; may_run_ kept it off.
    const auto ownership = look_whose(sysfs_, paths_, record_);
    if (ownership && replaced_ours(*ownership)) {
        disown();
    }
    if (!ownership || !usable(*ownership) ||
        (ownership->claim == damon::Claim::ours &&
         !sysfs_.apply({damon::Write{"kdamonds/nr_kdamonds", "0"}}))) {
        return;  // the record stays: our next run will know what of it is ours
    }
    std::error_code err;
    std::filesystem::remove(paths_.owner, err);
    if (record_.restore_damon_stat) {
        (void)platform::write_file(paths_.modules + "/damon_stat/parameters/enabled", "Y");
    }
}

std::string Reclaimer::state_file() const {
    return sysfs_.path("kdamonds/" + std::to_string(k_kdamond) + "/state");
}

Status Reclaimer::order(const autoscale::Decision& decision) {
    if (!decision.page_out) {
        return stop_now();
    }
    {
        const std::lock_guard lock(switch_mutex_);
        may_run_ = true;
    }
    {
        const std::lock_guard lock(mutex_);
        ordered_ = decision;
    }
    changed_.notify_all();
    return {};
}

Status Reclaimer::stop_now() {
    {
        const std::lock_guard lock(mutex_);
        ordered_.reset();
        report_.running = false;
        report_.error.reset();  // of an order that counts no more
    }
    const std::lock_guard lock(switch_mutex_);
    may_run_ = false;
    Status status;
    if (runs_ours()) {
        status = sysfs_.command(k_kdamond, damon::StateCommand::off);
    }
    if (!status && !means_off(status.error().code)) {
        return status.error().in("switching page-out off");
    }
    pid_ = -1;
    return {};
}

void Reclaimer::look() {
    const std::lock_guard lock(mutex_);
    look_ = true;
}

bool Reclaimer::wanted() const {
    const std::lock_guard lock(mutex_);
    return ordered_.has_value() && !quit_;
}

Reclaimer::Report Reclaimer::report() const {
    const std::lock_guard lock(mutex_);
    return report_;
}

void Reclaimer::work() {
    for (;;) {
        autoscale::Decision decision;
        {
            std::unique_lock lock(mutex_);
            changed_.wait(lock, [this] { return quit_ || ordered_; });
            if (quit_) {
                return;
            }
            decision = *ordered_;
        }
        const Status status = carry_out(decision);
        const std::lock_guard lock(mutex_);
        if (!ordered_) {
            continue;  // stopped meanwhile: whatever failed failed because of that
        }
        report_.error = status ? std::nullopt : std::optional(status.error());
        // The same order once more only when the loop gives it: it decides at its own pace.
        if (*ordered_ == decision) {
            ordered_.reset();
        }
    }
}

Status Reclaimer::carry_out(const autoscale::Decision& decision) {
    {
        const std::lock_guard lock(switch_mutex_);
        on_ = on_ && runs_ours();
    }
    const Status status = on_ ? change(decision) : start(decision);
    const std::lock_guard lock(mutex_);
    report_.running = on_ && status.ok();
    return status;
}

Status Reclaimer::refresh_regions(const autoscale::Decision& decision) {
    const auto pieces = platform::probe_page_map(
        paths_.kpageflags, ram_, static_cast<uint32_t>(platform::now().time_since_epoch().count()));
    std::vector<autoscale::PieceOfRam> ram;
    const bool any = pieces && std::any_of(pieces->begin(), pieces->end(),
                                           [](const auto& piece) { return piece.evictable > 0; });
    if (any) {
        for (const auto& piece : *pieces) {
            ram.push_back({.region = {.start = damon::Address(piece.start.count()),
                                      .end = damon::Address((piece.start + piece.size).count())},
                           .evictable = piece.evictable,
                           .probes = platform::k_probes_per_piece});
        }
    } else {
        // Without a map, or with an empty one, all RAM is monitored: slower to find what is cold,
        // not wrong.
        for (const auto& range : ram_) {
            ram.push_back({.region = {.start = damon::Address(range.start.count()),
                                      .end = damon::Address(range.end.count())},
                           .evictable = 1,
                           .probes = 1});
        }
    }
    pause_below_free_ = low_watermarks(paths_.zoneinfo);
    const bool goes_on =
        on_ && regions_pace_ == autoscale::Pace::quick && decision.pace == autoscale::Pace::quick;
    regions_ = autoscale::worth_monitoring(ram, decision.pace,
                                           goes_on ? regions_ : std::vector<damon::Region>{});
    regions_pace_ = decision.pace;
    regions_map_ = decision.map;
    return {};
}

Status Reclaimer::write_model(const damon::Kdamond& next) {
    if (const Status status = damon::validate({next}, features_); !status) {
        return status;
    }
    auto plan = damon::plan_update(written_, {next}, features_);
    if (!plan) {
        return plan.error();
    }
    if (plan->empty()) {
        return {};
    }
    // A plan that fails in the middle leaves an unknown tree: the next start writes it afresh.
    // Noted before it is done, so that a crash in between leaves nothing that looks foreign.
    if (const Status status = note(next); !status) {
        return status;
    }
    const Status status =
        sysfs_.apply(on_ ? damon::plan_commit(std::move(*plan), k_kdamond) : std::move(*plan));
    if (!status) {
        written_.clear();
        if (on_) {  // with a tree that is half old and half new it could not be changed again
            const std::lock_guard lock(switch_mutex_);
            (void)sysfs_.command(k_kdamond, damon::StateCommand::off);
            on_ = false;
        } else if (const auto state = sysfs_.state(k_kdamond);
                   state && *state == damon::State::on) {
            disown();  // ours is not on yet
        }
        return status;
    }
    written_ = {next};
    forget_other_shapes(next);
    return {};
}

Status Reclaimer::note(const damon::Kdamond& next) {
    const uint64_t shape = damon::shape(next);
    const bool known = std::any_of(record_.kdamonds.begin(), record_.kdamonds.end(),
                                   [&](const auto& owned) { return owned.shape == shape; });
    if (known) {
        return {};
    }
    // Whoever finds it half-written finds any shape.
    record_.kdamonds = {{.index = k_kdamond, .shape = damon::k_any_shape, .pid = -1}};
    return write_record(paths_.owner, record_);
}

void Reclaimer::forget_other_shapes(const damon::Kdamond& written) {
    const std::vector<damon::OwnedKdamond> only{
        {.index = k_kdamond, .shape = damon::shape(written), .pid = -1}};
    if (record_.kdamonds != only) {
        record_.kdamonds = only;
        (void)write_record(paths_.owner, record_);  // else it stays "any shape"
    }
}

// What we noted is gone: what is there now must never be taken for it.
void Reclaimer::disown() {
    written_.clear();
    if (!record_.kdamonds.empty()) {
        record_.kdamonds.clear();
        (void)write_record(paths_.owner, record_);
    }
}

Status Reclaimer::take_hold() {
    const auto ownership = look_whose(sysfs_, paths_, record_);
    if (!ownership) {
        return ownership.error();
    }
    if (replaced_ours(*ownership)) {
        disown();
    }
    if (const Status status = usable(*ownership); !status) {
        return status;
    }
    record_.restore_damon_stat = ownership->restore_damon_stat;
    if (const Status status = write_record(paths_.owner, record_); !status) {
        return status;
    }
    if (ownership->clear_damon_stat) {
        if (const Status status =
                platform::write_file(paths_.modules + "/damon_stat/parameters/enabled", "N");
            !status) {
            return status.error().in("DAMON_STAT holds DAMON and could not be switched off");
        }
    }
    return {};
}

// switch_mutex_ is held. Somebody may have ended our kdamond and started another.
bool Reclaimer::runs_ours() const {
    const auto pid =
        platform::read_file(sysfs_.path("kdamonds/" + std::to_string(k_kdamond) + "/pid"));
    if (!pid) {  // busy: by our own commit
        return pid_ > 0 && !means_off(pid.error().code);
    }
    return pid_ > 0 && pid->starts_with(std::to_string(pid_) + "\n");
}

Status Reclaimer::switch_on() {
    const std::lock_guard lock(switch_mutex_);
    if (!may_run_) {
        return Error{ErrorCode::busy, "page-out was stopped meanwhile"};
    }
    if (const Status status = sysfs_.command(k_kdamond, damon::StateCommand::on); !status) {
        return status;
    }
    const auto pid = sysfs_.pid(k_kdamond);
    if (!pid) {  // without it a stop could not tell ours from another's
        (void)sysfs_.command(k_kdamond, damon::StateCommand::off);
        return pid.error();
    }
    pid_ = *pid;
    on_ = true;
    return {};
}

Status Reclaimer::wait_until_cleared() {
    const Bytes all = damon::size_of(regions_);
    const auto steps = static_cast<int64_t>(all.count() / autoscale::k_clearing_step.count());
    const Time deadline = platform::now() + k_clearing_patience + k_clearing_step_patience * steps;
    while (wanted() && platform::now() < deadline) {
        platform::sleep_for(autoscale::k_clearing_apply);
        if (const Status status =
                sysfs_.command(k_kdamond, damon::StateCommand::update_schemes_stats);
            !status) {
            return status;
        }
        const auto done = sysfs_.scheme_done(k_kdamond, autoscale::k_page_out_scheme);
        if (!done) {
            return done.error();
        }
        if (done->tried >= scale(all, BasisPoints(9'500))) {
            break;
        }
    }
    return {};
}

Status Reclaimer::start(const autoscale::Decision& decision) {
    on_ = false;
    of_this_kdamond_ = {};
    if (decision.pace == autoscale::Pace::quick) {
        interval_timer_.start();
    }
    if (const Status status = take_hold(); !status) {
        return status;
    }
    if (const Status status = refresh_regions(decision); !status) {
        return status;
    }
    if (written_.empty()) {
        (void)sysfs_.apply({damon::Write{"kdamonds/nr_kdamonds", "0"}});
    }
    if (const Status status = write_model(autoscale::clearing_kdamond(regions_)); !status) {
        return status.error().in("setting up DAMON");
    }
    if (const Status status = switch_on(); !status) {
        return status.error().in("starting DAMON");
    }
    if (const Status status = wait_until_cleared(); !status) {
        return status.error().in("clearing Accessed bits");
    }
    // What the clearing pass tried is not page-out's.
    if (const auto done = sysfs_.scheme_done(k_kdamond, autoscale::k_page_out_scheme)) {
        of_this_kdamond_[autoscale::k_page_out_scheme] = *done;
    }
    return change(decision);
}

Status Reclaimer::change(const autoscale::Decision& decision) {
    const Time now = platform::now();
    if (drained_ != decision.drain) {
        drained_ = decision.drain;
        drain_page_lists(paths_.page_lists);
    }
    const bool quick = decision.pace == autoscale::Pace::quick;
    if (on_ && quick && regions_pace_ == autoscale::Pace::calm) {
        // A closer look begins as the first one did: with fresh regions and cleared Accessed bits.
        const std::lock_guard lock(switch_mutex_);
        if (const Status status = sysfs_.command(k_kdamond, damon::StateCommand::off); !status) {
            return status.error().in("starting to look closely");
        }
        on_ = false;
    }
    if (!on_) {
        return start(decision);
    }
    if (regions_pace_ != decision.pace || regions_map_ != decision.map) {
        if (const Status status = refresh_regions(decision); !status) {
            return status;
        }
    }
    damon::Kdamond next = autoscale::page_out_kdamond(decision, regions_, pause_below_free_);
    if (!written_.empty() && !written_[0].contexts.empty()) {
        const auto& last = written_[0].contexts[0];
        auto& quota = next.contexts[0].schemes[0].quota;
        if (last.attrs == next.contexts[0].attrs &&
            nearly_equal(last.schemes[0].quota.bytes, quota.bytes)) {
            quota.bytes = last.schemes[0].quota.bytes;
        }
    }
    if (const Status status = write_model(next); !status) {
        return status.error().in("changing page-out");
    }
    if (quick || now - totals_at_ >= k_totals_age_calm) {
        totals_at_ = now;
        if (const Status status = update_totals(); !status) {
            return status;
        }
    }
    return take_snapshot();
}

Status Reclaimer::take_snapshot() {
    {
        const std::lock_guard lock(mutex_);
        if (!look_) {
            return {};
        }
    }
    using damon::StateCommand;
    if (const Status status = sysfs_.command(k_kdamond, StateCommand::update_schemes_tried_regions);
        !status) {
        return status.error().in("asking what is cold");
    }
    const auto tried = sysfs_.tried_regions(k_kdamond, autoscale::k_monitored_scheme);
    // A thousand directories would stay in the kernel's memory.
    (void)sysfs_.command(k_kdamond, StateCommand::clear_schemes_tried_regions);
    if (!tried) {
        return tried.error().in("reading what is cold");
    }
    // The kernel may answer with a part, or nothing: 6.12 gives up after two aggregation intervals
    // (damos_tried_regions_init_upd_status), 7.3 begins where the kdamond happens to be in its
    // round over all regions, and ends with that round (damos_walk_call_walk). Asked again then.
    const auto& context = written_.at(0).contexts.at(0);
    if (tried->total * 10 < damon::size_of(context.targets.at(0).regions) * 9) {
        return {};
    }
    auto seen = std::make_shared<const damon::Snapshot>(
        damon::take_snapshot(*tried, context.attrs.intervals));
    const std::lock_guard lock(mutex_);
    look_ = false;
    report_.seen = std::move(seen);
    report_.seen_at = platform::now();
    return {};
}

Status Reclaimer::update_totals() {
    if (const Status status = sysfs_.command(k_kdamond, damon::StateCommand::update_schemes_stats);
        !status) {
        return status.error().in("reading what page-out did");
    }
    std::array<platform::DamonSysfs::Done, autoscale::k_schemes> done;
    for (size_t scheme = 0; scheme < done.size(); ++scheme) {
        const auto read = sysfs_.scheme_done(k_kdamond, scheme);
        if (!read) {
            return read.error();
        }
        done.at(scheme) = *read;
    }
    using namespace autoscale;
    const auto& last = of_this_kdamond_;
    const std::lock_guard lock(mutex_);
    report_.applied_total += done[k_page_out_scheme].applied - last[k_page_out_scheme].applied;
    report_.counted_at = platform::now();
    report_.tried_total += done[k_page_out_scheme].tried - last[k_page_out_scheme].tried;
    report_.full_windows_total += detail::sub_saturating(done[k_page_out_scheme].full_windows,
                                                         last[k_page_out_scheme].full_windows);
    report_.accessed_total += done[k_accessed_scheme].tried - last[k_accessed_scheme].tried;
    const auto monitored = (monitored_since_counted_ +
                            (done[k_monitored_scheme].tried - last[k_monitored_scheme].tried))
                               .count();
    const auto all = std::max<uint64_t>(1, damon::size_of(regions_).count());
    report_.aggregations_total += monitored / all;
    monitored_since_counted_ = Bytes(monitored % all);
    report_.idled_total += done[k_idled_scheme].tried - last[k_idled_scheme].tried;
    const bool alone = regions_pace_ == Pace::quick &&
                       done[k_page_out_scheme].tried == last[k_page_out_scheme].tried;
    interval_timer_.count(report_.counted_at, report_.aggregations_total, !alone);
    report_.aggregation = interval_timer_.interval();
    of_this_kdamond_ = done;
    return {};
}

}  // namespace acma::agent
