// SPDX-License-Identifier: Apache-2.0
#include "host-controller/meter/meter.h"

#include <memory>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "host-controller/meter/accumulator.h"
#include "host-controller/meter/ledger.h"
#include "host-controller/meter/ledger_thread.h"
#include "host-controller/meter/period.h"
#include "tests/fakes/fake_usage.h"

namespace acma::host {
namespace {

using testing::HasSubstr;

constexpr Micros k_noon = Seconds(1'795'867'200);  // 2026-11-28T12:00:00Z
const Hour k_noon_hour = std::chrono::floor<Hour>(k_noon);

Moment at(Micros since_noon) {
    return {Time(Seconds(5000) + since_noon), k_noon + since_noon};
}

Reading reading(const std::string& uuid, Bytes used, const Moment& measured,
                Bytes min_mem = 1_GiB) {
    return {uuid, "name-" + uuid, Reading::Measured{used, measured.mono}, min_mem};
}

Usage sum_of(const UsageBatch& batch, const std::string& uuid) {
    Usage sum;
    if (const auto vm = batch.vms.find(uuid); vm != batch.vms.end()) {
        for (const auto& [hour, usage] : vm->second.hours) {
            sum += usage;
        }
    }
    return sum;
}

constexpr ByteSeconds operator*(Bytes size, int seconds) {
    return ByteSeconds{size.count()} * static_cast<unsigned>(seconds);
}

// --- accumulator ----------------------------------------------------------------------------

TEST(Accumulator, CountsAMeasurementUntilTheNextOne) {
    Accumulator accumulator;
    EXPECT_FALSE(accumulator.take());
    accumulator.observe({reading("a", 3_GiB, at(Seconds(0)))}, at(Seconds(0)));
    accumulator.observe({reading("a", 2_GiB, at(Seconds(10)))}, at(Seconds(10)));
    accumulator.observe({reading("a", 9_GiB, at(Seconds(15)))}, at(Seconds(15)));
    const auto batch = accumulator.take();
    ASSERT_TRUE(batch);
    EXPECT_EQ(batch->since, at(Seconds(0)));
    EXPECT_EQ(batch->until, at(Seconds(15)));
    const Usage usage = sum_of(*batch, "a");
    EXPECT_TRUE(usage.used == 3_GiB * 10 + 2_GiB * 5);
    EXPECT_TRUE(usage.above_min == 2_GiB * 10 + 1_GiB * 5);
    EXPECT_EQ(usage.measured, Seconds(15));
    EXPECT_EQ(usage.missing, Micros(0));
    EXPECT_TRUE(batch->vms.at("a").runs);
}

TEST(Accumulator, SplitsAtTheHour) {
    Accumulator accumulator;
    const Moment before = at(-Seconds(10));
    accumulator.observe({reading("a", 1_GiB, before)}, before);
    accumulator.observe({reading("a", 1_GiB, before)}, at(Seconds(5)));
    const auto hours = accumulator.take()->vms.at("a").hours;
    ASSERT_EQ(hours.size(), 2U);
    EXPECT_EQ(hours.at(k_noon_hour - Hour(1)).measured, Seconds(10));
    EXPECT_EQ(hours.at(k_noon_hour).measured, Seconds(5));
    EXPECT_TRUE(hours.at(k_noon_hour).used == 1_GiB * 5);
}

TEST(Accumulator, HasAGapWhereAMeasurementIsTooOldOrFails) {
    Accumulator accumulator;
    accumulator.observe({reading("a", 1_GiB, at(Seconds(0)))}, at(Seconds(0)));
    const Micros late = Accumulator::k_counts_for + Seconds(7);
    accumulator.observe({reading("a", 1_GiB, at(Seconds(0)))}, at(late));
    EXPECT_EQ(sum_of(*accumulator.take(), "a").measured, Accumulator::k_counts_for);
    accumulator.observe({{"a", "a", std::nullopt, 1_GiB}}, at(late + Seconds(3)));
    EXPECT_EQ(sum_of(*accumulator.take(), "a").missing, Seconds(3)) << "still the old measurement";
    accumulator.observe({reading("a", 1_GiB, at(late + Seconds(8)))}, at(late + Seconds(8)));
    const Usage failed = sum_of(*accumulator.take(), "a");
    EXPECT_EQ(failed.missing, Seconds(5));
    EXPECT_EQ(failed.measured, Micros(0));
    EXPECT_TRUE(failed.used == 0);
}

TEST(Accumulator, CountsNothingBeforeAVmIsFoundAndAfterItIsGone) {
    Accumulator accumulator;
    accumulator.observe({}, at(Seconds(0)));
    accumulator.observe({reading("a", 1_GiB, at(Seconds(4)))}, at(Seconds(4)));
    accumulator.observe({reading("a", 1_GiB, at(Seconds(4)))}, at(Seconds(6)));
    EXPECT_TRUE(accumulator.total("a")->used == 1_GiB * 2);
    accumulator.observe({}, at(Seconds(7)));
    accumulator.observe({}, at(Seconds(20)));
    EXPECT_FALSE(accumulator.total("a"));
    const auto batch = accumulator.take();
    EXPECT_EQ(sum_of(*batch, "a").measured, Seconds(2));
    EXPECT_FALSE(batch->vms.at("a").runs);
    EXPECT_TRUE(accumulator.take()->vms.empty());
}

TEST(Accumulator, KnowsARenamedVmByItsUuid) {
    Accumulator accumulator;
    Reading vm = reading("a", 1_GiB, at(Seconds(0)));
    accumulator.observe({vm}, at(Seconds(0)));
    accumulator.observe({vm}, at(Seconds(5)));
    vm.name = "new name";
    accumulator.observe({vm}, at(Seconds(9)));
    const auto batch = accumulator.take();
    EXPECT_EQ(batch->vms.size(), 1U);
    EXPECT_EQ(batch->vms.at("a").name, "new name");
    EXPECT_EQ(sum_of(*batch, "a").measured, Seconds(9));
}

TEST(Accumulator, IsNotMisledByAClockThatIsSet) {
    Accumulator accumulator;
    accumulator.observe({reading("a", 1_GiB, at(Seconds(0)))}, at(Seconds(0)));
    Moment now = at(Seconds(10));
    now.wall += std::chrono::days(3650);
    accumulator.observe({reading("a", 1_GiB, now)}, now);
    now = at(Seconds(20));
    now.wall -= std::chrono::days(3);
    accumulator.observe({reading("a", 1_GiB, now)}, now);
    accumulator.observe({reading("a", 1_GiB, now)}, at(Seconds(30)));
    const auto batch = accumulator.take();
    const Usage usage = sum_of(*batch, "a");
    EXPECT_EQ(usage.measured, Seconds(30));
    EXPECT_TRUE(usage.used == 1_GiB * 30);
    EXPECT_EQ(batch->vms.at("a").hours.size(), 3U)
        << "each ten seconds under the hour of their end";
}

// Whatever comes: the hours add up to the integral, no time is lost or counted twice.
RC_GTEST_PROP(AccumulatorProperty, HoursAddUpToTheIntegral, ()) {
    Accumulator accumulator;
    Moment now = at(Micros(0));
    Bytes size(*rc::gen::inRange<uint64_t>(0, uint64_t{1} << 46));
    const Bytes min_mem(*rc::gen::inRange<uint64_t>(0, uint64_t{1} << 46));
    accumulator.observe({reading("a", size, now, min_mem)}, now);
    ByteSeconds used_micros = 0;
    ByteSeconds above_micros = 0;
    Micros passed{0};
    UsageBatch all = *accumulator.take();
    const int steps = *rc::gen::inRange(1, 30);
    for (int i = 0; i < steps; ++i) {
        const Micros step(*rc::gen::inRange<int64_t>(0, Accumulator::k_counts_for.count()));
        used_micros += ByteSeconds{size.count()} * static_cast<uint64_t>(step.count());
        above_micros += ByteSeconds{(size - min_mem).count()} * static_cast<uint64_t>(step.count());
        passed += step;
        now.mono += step;
        now.wall += step;
        if (*rc::gen::inRange(0, 5) == 0) {
            now.wall += Micros(*rc::gen::inRange<int64_t>(-400'000'000'000, 400'000'000'000));
        }
        size = Bytes(*rc::gen::inRange<uint64_t>(0, uint64_t{1} << 46));
        accumulator.observe({reading("a", size, now, min_mem)}, now);
        if (*rc::gen::arbitrary<bool>()) {
            all.append(*accumulator.take());
        }
    }
    all.append(*accumulator.take());
    const Usage sum = sum_of(all, "a");
    RC_ASSERT(sum.used == used_micros / 1'000'000);
    RC_ASSERT(sum.above_min == above_micros / 1'000'000);
    RC_ASSERT(sum.measured == passed);
    RC_ASSERT(sum.missing == Micros(0));
    RC_ASSERT(accumulator.total("a")->used == sum.used);
    RC_ASSERT(all.until == now);
}

TEST(UsageBatch, AppendsWhatFollows) {
    UsageBatch first{at(Seconds(0)), at(Seconds(10)), {}};
    first.vms["a"] = {"old", true, {{k_noon_hour, {5, 1, Seconds(10), Seconds(0)}}}};
    first.vms["b"] = {"b", true, {}};
    UsageBatch second{at(Seconds(10)), at(Seconds(20)), {}};
    second.vms["a"] = {"new", true, {{k_noon_hour, {7, 2, Seconds(9), Seconds(1)}}}};
    first.append(second);
    EXPECT_EQ(first.until, at(Seconds(20)));
    EXPECT_EQ(first.vms.at("a"),
              (VmUsage{"new", true, {{k_noon_hour, {12, 3, Seconds(19), Seconds(1)}}}}));
    EXPECT_FALSE(first.vms.at("b").runs) << "it was not there any more";
    EXPECT_EQ(first.entries(), 3U);
}

// --- ledger ---------------------------------------------------------------------------------

class LedgerTest : public testing::Test {
  protected:
    // Ten seconds of a GiB, the n-th since noon.
    static UsageBatch batch(int n) {
        UsageBatch made{at(Seconds(10 * n)), at(Seconds(10 * n + 10)), {}};
        made.vms["a"] = {"web", true, {{k_noon_hour, {1_GiB * 10, 0, Seconds(10), Seconds(0)}}}};
        return made;
    }
    Micros measured() {
        const UsageAnswer answer = ledger->read(k_day);
        const auto vm = answer.totals.find("a");
        return vm == answer.totals.end() ? Micros(0) : vm->second.usage.measured;
    }

    const UsagePeriod k_day{k_noon_hour, k_noon_hour + Hour(24)};
    fakes::FakeUsageStore store;
    std::string log;
    std::optional<Ledger> ledger{std::in_place, store,
                                 [this](bool warning, const std::string& text) {
                                     log += (warning ? "W " : "I ") + text + "\n";
                                 }};
};

TEST_F(LedgerTest, KeepsWhatCannotBeWrittenAndSaysSoOnce) {
    ledger->add(batch(0));
    store.error = Error{ErrorCode::io, "disk full"};
    for (int n = 1; n < 5; ++n) {
        ledger->add(batch(n));
    }
    EXPECT_EQ(log,
              "W metering: usage cannot be written: disk full; what is measured since "
              "2026-11-28T12:00:10Z is kept in memory and tried again, and lost if the controller "
              "ends before\n");
    EXPECT_EQ(measured(), Seconds(50)) << "read with what is not written";
    EXPECT_THAT(ledger->read(k_day).problem, HasSubstr("disk full"));
    store.error.reset();
    log.clear();
    ledger->add(batch(5));
    EXPECT_THAT(log, HasSubstr("I metering: usage is written again"));
    EXPECT_EQ(measured(), Seconds(60));
    EXPECT_EQ(ledger->read(k_day).problem, "");
    ASSERT_EQ(store.batches.size(), 2U);
    EXPECT_EQ(store.batches[1].since, at(Seconds(10)));
    EXPECT_EQ(store.batches[1].until, at(Seconds(60)));
    log.clear();
    ledger.reset();
    EXPECT_EQ(log, "");
}

TEST_F(LedgerTest, SaysAtTheEndWhatIsLost) {
    store.error = Error{ErrorCode::io, "disk full"};
    ledger->add(batch(0));
    ledger->add(batch(1));
    log.clear();
    ledger.reset();
    EXPECT_EQ(
        log,
        "W metering: the usage from 2026-11-28T12:00:00Z to 2026-11-28T12:00:20Z could not be "
        "written and is lost\n");
}

TEST_F(LedgerTest, KeepsNoMoreThanItHasRoomFor) {
    store.error = Error{ErrorCode::io, "disk full"};
    UsageBatch large = batch(0);
    for (size_t i = 0; i < Ledger::k_most_unwritten; ++i) {
        large.vms["vm" + std::to_string(i)] = {};
    }
    ledger->add(large);
    EXPECT_THAT(log, HasSubstr("12:00:10Z is lost: there is no more room"));
    store.error.reset();
    ledger->add(batch(1));
    EXPECT_EQ(store.batches.back().since, at(Seconds(10))) << "the store sees the gap";
}

TEST_F(LedgerTest, TellsGaps) {
    store.gap = UsageGap{k_noon, k_noon + Seconds(90), 3};
    ledger->add(batch(0));
    EXPECT_EQ(log,
              "W metering: usage of 3 VMs is missing from 2026-11-28T12:00:00Z to "
              "2026-11-28T12:01:30Z (90 s)\n");
    log.clear();
    store.gap = UsageGap{k_noon, k_noon, 0};
    ledger->add(batch(1));
    EXPECT_THAT(log, HasSubstr("for how long is not known"));
}

TEST_F(LedgerTest, ReadsTheHoursOfThePeriodOnly) {
    store.error = Error{ErrorCode::io, "disk full"};
    UsageBatch two = batch(0);
    two.vms["a"].hours[k_noon_hour + Hour(1)].measured = Seconds(3);
    ledger->add(two);
    const auto of = [this](Hour since, Hour until) {
        return ledger->read({since, until}).totals["a"].usage.measured;
    };
    EXPECT_EQ(of(k_noon_hour, k_noon_hour + Hour(1)), Seconds(10));
    EXPECT_EQ(of(k_noon_hour + Hour(1), k_noon_hour + Hour(2)), Seconds(3));
    EXPECT_EQ(of(k_noon_hour + Hour(2), k_noon_hour + Hour(3)), Seconds(0));
}

TEST(LedgerThread, WorksOnAThreadAndTellsTheReactor) {
    std::mutex mutex;
    std::vector<std::function<void()>> posted;
    std::string log;
    auto store = std::make_unique<fakes::FakeUsageStore>();
    store->error = Error{ErrorCode::io, "disk full"};
    std::optional<bool> taken;
    std::optional<UsageAnswer> answer;
    {
        LedgerThread ledger(
            std::move(store),
            [&](std::function<void()> work) {
                const std::lock_guard lock(mutex);
                posted.push_back(std::move(work));
            },
            [&log](bool, const std::string& text) { log += text + "\n"; });
        UsageBatch batch{at(Seconds(0)), at(Seconds(10)), {}};
        batch.vms["a"] = {"web", true, {{k_noon_hour, {1, 0, Seconds(10), Seconds(0)}}}};
        ledger.add(batch, [&taken](bool written) { taken = written; });
        ledger.read({k_noon_hour, k_noon_hour + Hour(1)},
                    [&answer](const UsageAnswer& given) { answer = given; });
        // The last of what is posted is the answer.
        while (!answer) {
            std::vector<std::function<void()>> now;
            {
                const std::lock_guard lock(mutex);
                now.swap(posted);
            }
            for (const auto& work : now) {
                work();
            }
            std::this_thread::yield();
        }
        EXPECT_EQ(taken, false) << "tried, and not written";
        EXPECT_EQ(answer->totals.at("a").usage.measured, Seconds(10));
        EXPECT_THAT(log, HasSubstr("disk full"));
        log.clear();
    }
    EXPECT_THAT(log, HasSubstr("is lost")) << "said though no reactor runs any more";
}

// --- meter ----------------------------------------------------------------------------------

class MeterTest : public testing::Test {
  protected:
    void observe(Micros since_noon, const std::vector<std::string>& vms = {"a"}) {
        now = at(since_noon);
        std::vector<Reading> readings;
        for (const std::string& uuid : vms) {
            readings.push_back(reading(uuid, 2_GiB, now));
        }
        meter.observe(readings);
    }
    Result<proto::UsageReport> ask(const Meter::Question& question) {
        // Shared, since it may come when nobody waits for it any more.
        using Answer = Result<proto::UsageReport>;
        const auto answer = std::make_shared<Answer>(Error{ErrorCode::timeout, "no answer"});
        meter.ask(question, [answer](const Answer& given) { *answer = given; });
        return *answer;
    }

    Moment now = at(Micros(0));
    fakes::FakeUsageLedger ledger;
    Meter meter{ledger, [this] { return now; }};
};

TEST_F(MeterTest, HandsOverAtOnceAndThenEveryTenSeconds) {
    for (int second = 0; second <= 25; ++second) {
        observe(Seconds(second));
    }
    ASSERT_EQ(ledger.store.batches.size(), 3U);
    EXPECT_EQ(ledger.store.batches[0].until, at(Seconds(0)));
    EXPECT_EQ(ledger.store.batches[1].until, at(Seconds(10)));
    EXPECT_EQ(ledger.store.batches[2].until, at(Seconds(20)));
}

TEST_F(MeterTest, HandsOverAtOnceWhenAVmIsFound) {
    observe(Seconds(0), {});
    observe(Seconds(3), {"a"});
    observe(Seconds(4), {"a"});
    ASSERT_EQ(ledger.store.batches.size(), 2U);
    EXPECT_EQ(ledger.store.batches[1].until, at(Seconds(3)));
    EXPECT_TRUE(ledger.store.batches[1].vms.at("a").runs)
        << "a crash now makes its seconds missing";
}

TEST_F(MeterTest, AnswersUpToNow) {
    for (int second = 0; second <= 25; ++second) {
        observe(Seconds(second));
    }
    const auto report = ask({});
    ASSERT_TRUE(report);
    EXPECT_EQ(report->since, k_noon - Hour(24));
    EXPECT_EQ(report->until, k_noon + Hour(1)) << "the hour that has begun";
    ASSERT_EQ(report->vms.size(), 1U);
    EXPECT_EQ(report->vms[0],
              (proto::UsageEntry{"name-a", "a", 2048 * 25, 1024 * 25, Seconds(25), Micros(0)}));
}

TEST_F(MeterTest, HandsNothingOverWhileTheLedgerHangs) {
    ledger.hangs = true;
    for (int second = 0; second <= 60; ++second) {
        observe(Seconds(second));
    }
    EXPECT_EQ(ledger.store.batches.size(), 1U);
    ledger.go_on();
    observe(Seconds(61));
    ASSERT_EQ(ledger.store.batches.size(), 2U);
    EXPECT_EQ(ledger.store.batches[1].since, at(Seconds(0))) << "nothing is lost";
    ledger.hangs = true;
    for (size_t i = 0; i < Meter::k_most_questions; ++i) {
        (void)ask({});
    }
    EXPECT_EQ(ask({}).error().code, ErrorCode::busy);
    ledger.go_on();
    EXPECT_TRUE(ask({}));
}

TEST_F(MeterTest, KnowsWhetherUsageIsWritten) {
    EXPECT_TRUE(meter.writes()) << "there was nothing to write";
    observe(Seconds(0));
    ledger.store.error = Error{ErrorCode::io, "disk full"};
    observe(Seconds(10));
    EXPECT_FALSE(meter.writes());
    ledger.store.error.reset();
    observe(Seconds(20));
    EXPECT_TRUE(meter.writes());
    ledger.hangs = true;
    observe(Seconds(30));
    observe(Seconds(60));
    EXPECT_TRUE(meter.writes()) << "disks take their time";
    observe(Seconds(61));
    EXPECT_FALSE(meter.writes());
    ledger.go_on();
    EXPECT_TRUE(meter.writes());
}

TEST_F(MeterTest, HandsOverTheRestAtTheEnd) {
    {
        Meter other(ledger, [this] { return now; });
        other.observe({reading("b", 1_GiB, now)});
        now = at(Seconds(3));
        other.observe({reading("b", 1_GiB, now)});
    }
    EXPECT_EQ(ledger.store.batches.back().until, at(Seconds(3)));
}

TEST_F(MeterTest, FindsAVmByItsUuidOrName) {
    observe(Seconds(0), {"a", "b"});
    observe(Seconds(5), {"a", "b"});
    EXPECT_EQ(ask({}).value().vms.size(), 2U);
    EXPECT_EQ(ask({"", "", "b"}).value().vms.at(0).uuid, "b");
    EXPECT_EQ(ask({"", "", "name-a"}).value().vms.at(0).uuid, "a");
    EXPECT_EQ(ask({"", "", "c"}).error().code, ErrorCode::not_found);
}

TEST_F(MeterTest, CountsHoursThatBeginInThePeriod) {
    const auto period = [this](const std::string& since, const std::string& until) {
        const auto report = ask({since, until, ""});
        return report ? format_utc(report->since) + " " + format_utc(report->until)
                      : report.error().message;
    };
    EXPECT_EQ(period("2026-11-01", "2026-12-01"), "2026-11-01T00:00:00Z 2026-12-01T00:00:00Z");
    EXPECT_EQ(period("30m", ""), "2026-11-28T11:00:00Z 2026-11-28T13:00:00Z");
    EXPECT_EQ(period("2h", "30m"), "2026-11-28T10:00:00Z 2026-11-28T11:00:00Z");
    EXPECT_THAT(period("10m", "5m"), HasSubstr("no hour begins"));
    EXPECT_THAT(period("1h", "2h"), HasSubstr("no hour begins"));
    EXPECT_THAT(period("yesterday", ""), HasSubstr("since: 'yesterday' is not a time"));
    EXPECT_THAT(period("", "x"), HasSubstr("until: "));
}

// --- times as people write them -------------------------------------------------------------

TEST(Period, ReadsMoments) {
    const Micros now = k_noon + Seconds(1234);
    const auto text = [now](const char* given) {
        const auto moment = parse_moment(given, now);
        return moment ? format_utc(*moment) : "bad";
    };
    EXPECT_EQ(text("2026-11-01"), "2026-11-01T00:00:00Z");
    EXPECT_EQ(text("2026-11-01T10:20"), "2026-11-01T10:20:00Z");
    EXPECT_EQ(text("2026-11-01T10:20:30"), "2026-11-01T10:20:30Z");
    EXPECT_EQ(text("2026-11-01T10:20:30Z"), "2026-11-01T10:20:30Z");
    EXPECT_EQ(text("2026-11-01T00:20+01:00"), "2026-10-31T23:20:00Z");
    EXPECT_EQ(text("2026-11-01T23:20:00-02:30"), "2026-11-02T01:50:00Z");
    EXPECT_EQ(text("2028-02-29"), "2028-02-29T00:00:00Z");
    EXPECT_EQ(text("24h"), "2026-11-27T12:20:34Z");
    EXPECT_EQ(text("2w"), "2026-11-14T12:20:34Z");
    for (const char* bad : {"",
                            "2026",
                            "2026-11",
                            "2026-13-01",
                            "2026-02-29",
                            "2026-11-01T",
                            "2026-11-01T24:00",
                            "2026-11-01T10",
                            "2026-11-01T10:60",
                            "2026-11-01T10:00:60",
                            "2026-11-01T10:00z",
                            "2026-11-01T10:00+1",
                            "2026-11-01 10:00",
                            "2026-11-01x",
                            "+026-11-01",
                            "1969-12-31",
                            "24",
                            "h",
                            "-1h",
                            "0h",
                            "1y",
                            "1.5h",
                            "99999999999h",
                            "3654d",
                            " 24h"}) {
        EXPECT_EQ(text(bad), "bad") << bad;
    }
}

TEST(Period, ReadsDurations) {
    EXPECT_EQ(parse_duration("90m").value(), Seconds(5400));
    EXPECT_EQ(parse_duration("400d").value(), std::chrono::days(400));
    EXPECT_THAT(parse_duration("1s").error().message, HasSubstr("'1s' is not a duration"));
}

}  // namespace
}  // namespace acma::host
