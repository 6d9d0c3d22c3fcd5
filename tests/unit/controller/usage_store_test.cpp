// SPDX-License-Identifier: Apache-2.0
// The usage database on a real file system: what is in it after crashes, on full and read-only
// disks, after years.
#include <chrono>
#include <csignal>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host-controller/meter/sqlite_store.h"
#include "tests/unit/temp_dir.h"

namespace acma::host {
namespace {

using ::testing::HasSubstr;

constexpr Micros k_noon = Seconds(1'795'867'200);  // 2026-11-28T12:00:00Z
const Hour k_noon_hour = std::chrono::floor<Hour>(k_noon);
const UsagePeriod k_ever{Hour(0), Hour(10'000'000)};

Moment at(Micros since_noon) {
    return {Time(Seconds(5000) + since_noon), k_noon + since_noon};
}

// Of one VM with a GiB, filed under the hour in which it begins.
UsageBatch batch(Micros since, Micros until, const std::string& name = "web") {
    UsageBatch made{at(since), at(until), {}};
    const Micros length = until - since;
    const auto used =
        ByteSeconds{(1_GiB).count()} * static_cast<uint64_t>(length.count()) / 1'000'000;
    made.vms["a"] = {
        name,
        true,
        {{std::chrono::floor<Hour>(k_noon + since), {used, used / 4, length, Micros(0)}}}};
    return made;
}

class UsageStoreTest : public ::testing::Test {
  protected:
    SqliteStore open(const std::string& boot = "this boot") {
        return SqliteStore({path, std::chrono::days(30), boot});
    }
    Usage usage(const UsagePeriod& period = k_ever) {
        const auto totals = open().read(period);
        EXPECT_TRUE(totals) << totals.error().message;
        const auto vm = totals ? totals->find("a") : UsageTotals::const_iterator();
        return totals && vm != totals->end() ? vm->second.usage : Usage{};
    }
    Micros measured() { return usage().measured; }

    acma::testing::TempDir dir;
    std::string path = dir.path("usage.db");
};

TEST_F(UsageStoreTest, AddsUpAndSurvives) {
    {
        SqliteStore store = open();
        EXPECT_EQ(store.commit(batch(Seconds(0), Seconds(10))).value(), std::nullopt);
        EXPECT_EQ(store.commit(batch(Seconds(10), Seconds(30))).value(), std::nullopt);
        EXPECT_EQ(store.commit(batch(Seconds(30), Seconds(3600), "renamed")).value(), std::nullopt);
        EXPECT_EQ(store.commit(batch(Seconds(3600), Seconds(3610), "renamed")).value(),
                  std::nullopt);
    }
    const auto totals = open().read(k_ever);
    ASSERT_EQ(totals->size(), 1U) << "a VM that is renamed keeps its UUID";
    const ByteSeconds used = ByteSeconds{(1_GiB).count()} * 3610;
    EXPECT_EQ(totals->at("a"), (UsageTotal{"renamed", {used, used / 4, Seconds(3610), Micros(0)}}));
    EXPECT_EQ(usage({k_noon_hour, k_noon_hour + Hour(1)}).measured, Seconds(3600));
    EXPECT_EQ(usage({k_noon_hour + Hour(1), k_noon_hour + Hour(2)}).measured, Seconds(10));
    EXPECT_EQ(usage({k_noon_hour + Hour(2), k_noon_hour + Hour(9)}).measured, Seconds(0));
}

TEST_F(UsageStoreTest, KnowsWhichSecondsAreMissingAfterARestart) {
    (void)open().commit(batch(Seconds(0), Seconds(10)));
    {
        SqliteStore store = open();
        EXPECT_EQ(store.commit(batch(Seconds(25), Seconds(30))).value(),
                  (UsageGap{k_noon + Seconds(10), k_noon + Seconds(25), 1}));
        EXPECT_EQ(store.commit(batch(Seconds(30), Seconds(35))).value(), std::nullopt);
    }
    EXPECT_EQ(usage().measured, Seconds(20));
    EXPECT_EQ(usage().missing, Seconds(15));
}

TEST_F(UsageStoreTest, CountsAGapForWhoRanWhenItBegan) {
    UsageBatch last = batch(Seconds(0), Seconds(10));
    last.vms["ended"] = {"ended", false, {}};
    last.vms["stopped later"] = {"stopped later", true, {}};
    (void)open().commit(last);
    UsageBatch next = batch(Seconds(3590), Seconds(3600));
    next.vms["new"] = {"new", true, {}};
    EXPECT_EQ(open().commit(next).value()->vms, 2U);
    const UsageTotals totals = open().read(k_ever).value();
    EXPECT_EQ(totals.at("a").usage.missing, Seconds(3580));
    EXPECT_EQ(totals.at("stopped later").usage.missing, Seconds(3580));
    EXPECT_EQ(totals.count("ended"), 0U);
    EXPECT_EQ(totals.count("new"), 0U);
    // Again without it: it is not missing twice.
    (void)open().commit(batch(Seconds(3700), Seconds(3701)));
    EXPECT_EQ(open().read(k_ever)->at("stopped later").usage.missing, Seconds(3580));
    const UsagePeriod later{k_noon_hour + Hour(1), k_noon_hour + Hour(2)};
    EXPECT_EQ(usage(later).missing, Seconds(100)) << "a gap counts in the hours that it lies in";
}

TEST_F(UsageStoreTest, MeasuresAGapByTheMonotonicClockWithinABoot) {
    (void)open().commit(batch(Seconds(0), Seconds(10)));
    UsageBatch next = batch(Seconds(40), Seconds(50));
    next.since.wall += std::chrono::days(100);
    EXPECT_EQ(open().commit(next).value(),
              (UsageGap{next.since.wall - Seconds(30), next.since.wall, 1}));
    EXPECT_EQ(usage().missing, Seconds(30));
}

TEST_F(UsageStoreTest, MeasuresAGapByTheWallClockAfterAReboot) {
    (void)open().commit(batch(Seconds(0), Seconds(10)));
    UsageBatch next = batch(Seconds(300), Seconds(310));
    next.since.mono = Time(Seconds(20));
    next.until.mono = Time(Seconds(30));
    EXPECT_EQ(open("next boot").commit(next).value(),
              (UsageGap{k_noon + Seconds(10), k_noon + Seconds(300), 1}));
    EXPECT_EQ(usage().missing, Seconds(290));
    // The clock is behind where it was: how long it was off is not known.
    const auto gap = open("a boot with a wrong clock").commit(batch(Seconds(200), Seconds(210)));
    EXPECT_EQ(gap.value(), (UsageGap{k_noon + Seconds(200), k_noon + Seconds(200), 1}));
    EXPECT_EQ(usage().missing, Seconds(290));
}

TEST_F(UsageStoreTest, CountsNothingTwice) {
    SqliteStore store = open();
    (void)store.commit(batch(Seconds(0), Seconds(10)));
    // As if the disk had taken the last commit and then said that it had failed.
    UsageBatch again = batch(Seconds(0), Seconds(10));
    again.append(batch(Seconds(10), Seconds(25)));
    EXPECT_EQ(store.commit(again).value(),
              (UsageGap{k_noon + Seconds(10), k_noon + Seconds(25), 1}));
    EXPECT_EQ(store.commit(batch(Seconds(25), Seconds(30))).value(), std::nullopt);
    EXPECT_EQ(usage().measured, Seconds(15));
    EXPECT_EQ(usage().missing, Seconds(15));
}

TEST_F(UsageStoreTest, LosesOnlyWhatWasNotCommittedWhenItIsKilled) {
    constexpr int k_rounds = 10;
    Micros begin{0};
    for (int round = 0; round < k_rounds; ++round) {
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe(ends.data()), 0);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            SqliteStore store = open();
            for (Micros now = begin;; now += Seconds(1)) {
                if (!store.commit(batch(now, now + Seconds(1)))) {
                    ::_exit(1);
                }
                (void)!::write(ends[1], "x", 1);
            }
        }
        // Killed in the midst of the n-th commit, or the one after it.
        std::array<char, 8> byte{};
        ::close(ends[1]);
        for (int n = 0; n < 3 + round; ++n) {
            ASSERT_EQ(::read(ends[0], byte.data(), 1), 1);
        }
        std::this_thread::sleep_for(std::chrono::microseconds(round * 150));
        ::kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status));
        int64_t told = 3 + round;
        for (ssize_t got = 1; (got = ::read(ends[0], byte.data(), byte.size())) > 0;) {
            told += got;
        }
        ::close(ends[0]);
        // All that was told to be committed is there, perhaps one more; the next run finds the rest
        // missing.
        const Usage before = usage();
        const Micros next = begin + Seconds(1000);
        EXPECT_EQ(open().commit(batch(next, next + Seconds(1))).value()->to, k_noon + next);
        const Usage after = usage();
        EXPECT_EQ(after.measured + after.missing, next + Seconds(1));
        const Micros of_round = before.measured - (begin - before.missing);
        EXPECT_GE(of_round, Seconds(told));
        EXPECT_LE(of_round, Seconds(told + 1));
        EXPECT_TRUE(
            after.used ==
            ByteSeconds{(1_GiB).count()} *
                static_cast<uint64_t>(std::chrono::duration_cast<Seconds>(after.measured).count()));
        begin = next + Seconds(1);
    }
    auto database = sqlite::Database::open(path);
    auto check = database->prepare("PRAGMA integrity_check");
    ASSERT_TRUE(check->step().value());
    EXPECT_EQ(check->text(0), "ok");
}

// The process's files may not grow any more: every write beyond it fails.
class NoRoom {
  public:
    explicit NoRoom(rlim_t size) {
        before_handler_ = std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before_);
        rlimit low = before_;
        low.rlim_cur = size;
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &low), 0);
    }
    ~NoRoom() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        (void)std::signal(SIGXFSZ, before_handler_);
    }
    NoRoom(const NoRoom&) = delete;
    NoRoom& operator=(const NoRoom&) = delete;

  private:
    rlimit before_{};
    void (*before_handler_)(int) = SIG_DFL;
};

TEST_F(UsageStoreTest, TakesAllOfABatchOrNothingWhereThereIsNoRoom) {
    SqliteStore store = open();
    (void)store.commit(batch(Seconds(0), Seconds(10)));
    UsageBatch large = batch(Seconds(10), Seconds(20));
    for (int i = 0; i < 5000; ++i) {
        large.vms["vm" + std::to_string(i)] = {"vm", true, {{k_noon_hour, {1, 1, Seconds(1), {}}}}};
    }
    {
        const NoRoom none(64 * 1024);
        const auto failed = store.commit(large);
        ASSERT_FALSE(failed);
        EXPECT_THAT(failed.error().message, HasSubstr(path));
    }
    EXPECT_EQ(measured(), Seconds(10));
    EXPECT_EQ(store.commit(large).value(), std::nullopt) << "with room again, and no gap";
    EXPECT_EQ(measured(), Seconds(20));
    EXPECT_EQ(open().read(k_ever)->size(), 5001U);
}

TEST_F(UsageStoreTest, SaysThatADirectoryIsMissing) {
    SqliteStore store({dir.path("no/usage.db"), std::chrono::days(30), "b"});
    EXPECT_THAT(store.commit(batch(Seconds(0), Seconds(1))).error().message,
                HasSubstr("No such file or directory"));
    EXPECT_FALSE(store.read(k_ever));
    std::filesystem::create_directory(dir.path("no"));
    EXPECT_TRUE(store.commit(batch(Seconds(0), Seconds(1)))) << "it is there now";
}

// Root may write what is read-only.
class AsNobody {
  public:
    AsNobody() {
        if (::geteuid() == 0) {
            EXPECT_EQ(::seteuid(65'534), 0);
            changed_ = true;
        }
    }
    ~AsNobody() {
        if (changed_) {
            EXPECT_EQ(::seteuid(0), 0);
        }
    }
    AsNobody(const AsNobody&) = delete;
    AsNobody& operator=(const AsNobody&) = delete;

  private:
    bool changed_ = false;
};

TEST_F(UsageStoreTest, SaysThatAFileIsReadOnlyAndGoesOnWhenItIsNot) {
    (void)open().commit(batch(Seconds(0), Seconds(10)));
    ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
    ASSERT_EQ(::chmod(path.c_str(), 0444), 0);
    SqliteStore store = open();
    {
        const AsNobody nobody;
        const auto failed = store.commit(batch(Seconds(10), Seconds(20)));
        ASSERT_FALSE(failed);
        EXPECT_EQ(failed.error().code, ErrorCode::permission) << failed.error().message;
    }
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    EXPECT_EQ(store.commit(batch(Seconds(10), Seconds(20))).value(), std::nullopt);
    EXPECT_EQ(measured(), Seconds(20));
}

TEST_F(UsageStoreTest, BeginsAnewWhereTheFileWasTakenAway) {
    SqliteStore store = open();
    (void)store.commit(batch(Seconds(0), Seconds(10)));
    ASSERT_EQ(::unlink(path.c_str()), 0);
    EXPECT_TRUE(store.commit(batch(Seconds(10), Seconds(15))));
    EXPECT_EQ(measured(), Seconds(5));
}

TEST_F(UsageStoreTest, LeavesWhatIsNoUsageDatabase) {
    (void)dir.write("usage.db", std::string(8192, 'x'));
    const auto garbage = open().commit(batch(Seconds(0), Seconds(10)));
    EXPECT_THAT(garbage.error().message, HasSubstr("file is not a database"));
    EXPECT_EQ(dir.read("usage.db"), std::string(8192, 'x'));
    ::unlink(path.c_str());
    ASSERT_TRUE(sqlite::Database::open(path)->run("CREATE TABLE t (x)"));
    EXPECT_THAT(open().commit(batch(Seconds(0), Seconds(10))).error().message,
                HasSubstr("not a usage database"));
    ASSERT_TRUE(sqlite::Database::open(path)->run("PRAGMA user_version = 2"));
    EXPECT_THAT(open().commit(batch(Seconds(0), Seconds(10))).error().message,
                HasSubstr("made by a newer acma-controller"));
}

TEST_F(UsageStoreTest, SumsYearsOfTebibytes) {
    SqliteStore store = open();
    const ByteSeconds hour_of_4_tib = ByteSeconds{(4_GiB).count()} * 1024 * 3600;
    UsageBatch year{at(Seconds(0)), at(Seconds(10)), {}};
    constexpr int k_hours = 24 * 365;
    for (int i = 0; i < k_hours; ++i) {
        year.vms["a"].hours[Hour(i)] = {hour_of_4_tib + 1, hour_of_4_tib, Hour(1), Micros(0)};
    }
    ASSERT_TRUE(store.commit(year));
    EXPECT_TRUE(usage().used == (hour_of_4_tib + 1) * k_hours) << "more than 64 bits";
}

TEST_F(UsageStoreTest, RemovesWhatIsOlderThanItKeeps) {
    SqliteStore store = open();  // 30 days
    const auto day_of = [](int day) { return std::chrono::days(day); };
    UsageBatch old = batch(day_of(0), day_of(0) + Seconds(10));
    old.vms["gone"] = {"gone", false, {{k_noon_hour, {1, 1, Seconds(1), {}}}}};
    (void)store.commit(old);
    (void)store.commit(batch(day_of(0) + Seconds(20), day_of(1)));
    (void)store.commit(batch(day_of(1), day_of(29)));
    EXPECT_EQ(open().read(k_ever)->size(), 2U);
    // Long gone by then, but once an hour at most a day.
    const Micros late = day_of(45);
    (void)store.commit(batch(day_of(29), late));
    (void)store.commit(batch(late, late + Seconds(10)));
    EXPECT_EQ(usage({k_noon_hour, k_noon_hour + Hour(1)}), Usage{});
    EXPECT_EQ(open().read(k_ever)->size(), 1U);
    EXPECT_GT(usage({k_noon_hour + Hour(24), k_noon_hour + Hour(25)}).measured, Micros(0));
    (void)store.commit(batch(late + Seconds(10), late + Hour(2)));
    EXPECT_EQ(usage({k_noon_hour + Hour(24), k_noon_hour + Hour(25)}), Usage{});
    EXPECT_GT(usage({k_noon_hour + Hour(24 * 29), k_noon_hour + Hour(24 * 29 + 1)}).measured,
              Micros(0))
        << "not old";
}

TEST_F(UsageStoreTest, LosesLittleToAClockThatIsWrong) {
    SqliteStore store = open();
    UsageBatch month{at(Seconds(0)), at(Seconds(10)), {}};
    for (int day = 0; day < 20; ++day) {
        month.vms["a"].hours[k_noon_hour - Hour(24 * day)].measured = Hour(1);
    }
    (void)store.commit(month);
    UsageBatch wrong = batch(Seconds(10), Seconds(20));
    wrong.until.wall += std::chrono::days(10'000);
    (void)store.commit(wrong);
    EXPECT_EQ(usage({Hour(0), k_noon_hour}).measured, Hour(19)) << "nothing in the first hour";
    wrong = batch(Seconds(20), Seconds(4000));
    wrong.until.wall += std::chrono::days(10'000);
    (void)store.commit(wrong);
    EXPECT_EQ(usage({Hour(0), k_noon_hour}).measured, Hour(18));
}

}  // namespace
}  // namespace acma::host
