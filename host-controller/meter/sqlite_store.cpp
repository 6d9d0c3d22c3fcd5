// SPDX-License-Identifier: Apache-2.0
#include "host-controller/meter/sqlite_store.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace acma::host {

namespace {
using sqlite::Statement;

constexpr int64_t k_version = 1;
constexpr const char* k_schema = R"(
    CREATE TABLE vm (id INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL, ended_us INTEGER) STRICT;
    CREATE TABLE usage (hour INTEGER NOT NULL, vm INTEGER NOT NULL REFERENCES vm,
        used_byte_seconds INTEGER NOT NULL, above_min_byte_seconds INTEGER NOT NULL,
        measured_us INTEGER NOT NULL, missing_us INTEGER NOT NULL,
        PRIMARY KEY (hour, vm)) STRICT, WITHOUT ROWID;
    CREATE TABLE gap (from_us INTEGER NOT NULL, to_us INTEGER NOT NULL,
        vm INTEGER NOT NULL REFERENCES vm) STRICT;
    CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL,
        mono_us INTEGER NOT NULL, wall_us INTEGER NOT NULL) STRICT;
    PRAGMA user_version = 1;)";

// What is old is removed once an hour, at most a day of it, and not before an hour has passed: a
// clock that is wrong for a while, as at boot, does not take all.
constexpr Micros k_remove_every = Hour(1);
constexpr Hour k_remove_at_most{24};

constexpr int k_mib_shift = 20;
const std::map<Hour, Usage> k_no_hours;

// An hour of 2 PiB fits.
int64_t to_column(ByteSeconds amount) {
    return static_cast<int64_t>(std::min<ByteSeconds>(amount, std::numeric_limits<int64_t>::max()));
}
int64_t seconds_of(Hour hour) {
    return Seconds(hour).count();
}
int64_t micros_of(Hour hour) {
    return Micros(hour).count();
}

// A sum over years does not fit a column: MiB-seconds and what is left of them come apart.
ByteSeconds from_columns(const Statement& row, int whole, int rest) {
    return (ByteSeconds{static_cast<uint64_t>(row.integer(whole))} << k_mib_shift) +
           static_cast<uint64_t>(row.integer(rest));
}
}  // namespace

// --- the file -------------------------------------------------------------------------------

Status SqliteStore::open() {
    if (database_ && database_->moved()) {
        database_.reset();
    }
    if (database_) {
        return {};
    }
    Result<sqlite::Database> opened = sqlite::Database::open(options_.path);
    if (!opened) {
        return opened.error();
    }
    database_.emplace(std::move(*opened));
    if (database_->read_only()) {
        return {};  // reads may work, and commit() will say so
    }
    // Where WAL is not possible the rollback journal is as safe.
    Status done = database_->run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    return done ? create() : done;
}

Status SqliteStore::create() {
    const Result<int64_t> version = database_->integer("PRAGMA user_version");
    if (!version) {
        return version.error();
    }
    if (*version == k_version) {
        return {};
    }
    const Result<int64_t> tables = database_->integer("SELECT COUNT(*) FROM sqlite_schema");
    if (!tables) {
        return tables.error();
    }
    if (*version > k_version) {
        return Error{ErrorCode::unsupported, "made by a newer acma-controller"};
    }
    if (*tables != 0) {
        return Error{ErrorCode::invalid, "not a usage database"};
    }
    if (Status begun = database_->run("BEGIN IMMEDIATE"); !begun) {
        return begun;
    }
    if (Status made = database_->run(k_schema); !made) {
        return made;
    }
    return database_->run("COMMIT");
}

// What was begun is rolled back by closing.
Error SqliteStore::failed(const Error& error) {
    database_.reset();
    return error.in(options_.path);
}

// --- writing --------------------------------------------------------------------------------

Result<std::optional<UsageGap>> SqliteStore::commit(const UsageBatch& batch) {
    if (const Status ready = open(); !ready) {
        return failed(ready.error());
    }
    if (const Status begun = database_->run("BEGIN IMMEDIATE"); !begun) {
        return failed(begun.error());
    }
    const Result<std::optional<UsageGap>> gap = write(batch);
    if (!gap) {
        return failed(gap.error());
    }
    if (const Status committed = database_->run("COMMIT"); !committed) {
        return failed(committed.error());
    }
    return gap;
}

Result<std::optional<UsageGap>> SqliteStore::write(const UsageBatch& batch) {
    const Result<std::optional<Last>> last = last_commit();
    if (!last) {
        return last.error();
    }
    // A commit that failed may be in the file all the same, if the disk took it and did not say so.
    // Nothing is counted twice: then all that came after it is a gap.
    const bool has_part =
        *last && (*last)->boot == options_.boot && (*last)->at.mono > batch.since.mono;
    std::optional<UsageGap> gap;
    if (*last) {
        Result<std::optional<UsageGap>> written =
            write_gap(**last, has_part ? batch.until : batch.since);
        if (!written) {
            return written;
        }
        gap = *written;
    }
    if (const Status vms = write_vms(batch, has_part); !vms) {
        return vms.error();
    }
    if (const Status state = write_state(batch.until); !state) {
        return state.error();
    }
    if (!removed_at_) {
        removed_at_ = batch.since.mono;
    }
    if (batch.until.mono - *removed_at_ >= k_remove_every) {
        removed_at_ = batch.until.mono;
        if (const Status removed = remove_old(batch.until.wall); !removed) {
            return removed.error();
        }
    }
    return gap;
}

Result<std::optional<SqliteStore::Last>> SqliteStore::last_commit() {
    Result<Statement> select = database_->prepare("SELECT boot, mono_us, wall_us FROM state");
    if (!select) {
        return select.error();
    }
    const Result<bool> found = select->step();
    if (!found) {
        return found.error();
    }
    if (!*found) {
        return std::optional<Last>();  // a new file
    }
    return std::optional(
        Last{select->text(0), {Time(Micros(select->integer(1))), Micros(select->integer(2))}});
}

// Between the last commit, whoever made it, and `until`. Within one boot the monotonic clock says
// how long that was, else the wall clock has to.
Result<std::optional<UsageGap>> SqliteStore::write_gap(const Last& last, const Moment& until) {
    const bool same_boot = last.boot == options_.boot;
    const Micros length =
        std::max(same_boot ? until.mono - last.at.mono : until.wall - last.at.wall, Micros(0));
    if (same_boot && length == Micros(0)) {
        return std::optional<UsageGap>();
    }
    UsageGap gap{until.wall - length, until.wall, 0};
    Result<Statement> insert = database_->prepare(
        "INSERT INTO gap (from_us, to_us, vm) SELECT ?1, ?2, id FROM vm WHERE ended_us IS NULL");
    Result<Statement> end =
        database_->prepare("UPDATE vm SET ended_us = ?1 WHERE ended_us IS NULL");
    if (!insert || !end) {
        return (insert ? end : insert).error();
    }
    if (length > Micros(0)) {
        insert->bind(1, gap.from.count()).bind(2, gap.to.count());
        if (const Status done = insert->run(); !done) {
            return done.error();
        }
    }
    if (const Status done = end->bind(1, last.at.wall.count()).run(); !done) {
        return done.error();
    }
    gap.vms = static_cast<size_t>(database_->changes());
    return std::optional(gap);
}

Status SqliteStore::write_vms(const UsageBatch& batch, bool names_only) {
    Result<Statement> write_vm = database_->prepare(
        "INSERT INTO vm (uuid, name, ended_us) VALUES (?1, ?2, ?3) ON CONFLICT (uuid) DO UPDATE "
        "SET name = excluded.name, ended_us = excluded.ended_us "
        "WHERE name IS NOT excluded.name OR ended_us IS NOT excluded.ended_us");
    Result<Statement> write_hour = database_->prepare(
        "INSERT INTO usage SELECT ?2, id, ?3, ?4, ?5, ?6 FROM vm WHERE uuid = ?1 "
        "ON CONFLICT (hour, vm) DO UPDATE SET "
        "used_byte_seconds = used_byte_seconds + excluded.used_byte_seconds, "
        "above_min_byte_seconds = above_min_byte_seconds + excluded.above_min_byte_seconds, "
        "measured_us = measured_us + excluded.measured_us, "
        "missing_us = missing_us + excluded.missing_us");
    if (!write_vm || !write_hour) {
        return (write_vm ? write_hour : write_vm).error();
    }
    for (const auto& [uuid, vm] : batch.vms) {
        write_vm->bind(1, uuid).bind(2, vm.name);
        vm.runs ? write_vm->bind_null(3) : write_vm->bind(3, batch.until.wall.count());
        if (Status done = write_vm->run(); !done) {
            return done;
        }
        for (const auto& [hour, usage] : names_only ? k_no_hours : vm.hours) {
            write_hour->bind(1, uuid)
                .bind(2, seconds_of(hour))
                .bind(3, to_column(usage.used))
                .bind(4, to_column(usage.above_min))
                .bind(5, usage.measured.count())
                .bind(6, usage.missing.count());
            if (Status done = write_hour->run(); !done) {
                return done;
            }
        }
    }
    return {};
}

Status SqliteStore::write_state(const Moment& until) {
    Result<Statement> write = database_->prepare(
        "INSERT OR REPLACE INTO state (one, boot, mono_us, wall_us) VALUES (1, ?1, ?2, ?3)");
    if (!write) {
        return write.error();
    }
    return write->bind(1, options_.boot)
        .bind(2, until.mono.time_since_epoch().count())
        .bind(3, until.wall.count())
        .run();
}

Status SqliteStore::remove_old(Micros wall) {
    Result<Statement> oldest = database_->prepare("SELECT MIN(hour) FROM usage");
    if (!oldest) {
        return oldest.error();
    }
    const Result<bool> row = oldest->step();
    if (!row) {
        return row.error();
    }
    if (!*row || oldest->is_null(0)) {
        return {};
    }
    const Hour first = std::chrono::floor<Hour>(Seconds(oldest->integer(0)));
    const Hour end =
        std::min(std::chrono::floor<Hour>(wall - options_.retention), first + k_remove_at_most);
    const std::pair<const char*, int64_t> removals[] = {
        {"DELETE FROM usage WHERE hour < ?1", seconds_of(end)},
        {"DELETE FROM gap WHERE to_us < ?1", micros_of(end)},
        {"DELETE FROM vm WHERE ended_us < ?1", micros_of(end)},
    };
    for (const auto& [sql, before] : removals) {
        Result<Statement> remove = database_->prepare(sql);
        if (!remove) {
            return remove.error();
        }
        if (Status done = remove->bind(1, before).run(); !done) {
            return done;
        }
    }
    return {};
}

// --- reading --------------------------------------------------------------------------------

Result<UsageTotals> SqliteStore::read(const UsagePeriod& period) {
    if (const Status ready = open(); !ready) {
        return failed(ready.error());
    }
    Result<UsageTotals> totals = sum(period);
    return totals ? std::move(totals) : Result<UsageTotals>(failed(totals.error()));
}

Result<UsageTotals> SqliteStore::sum(const UsagePeriod& period) {
    Result<Statement> select = database_->prepare(
        "SELECT uuid, name, SUM(used_byte_seconds >> 20), SUM(used_byte_seconds & 1048575), "
        "SUM(above_min_byte_seconds >> 20), SUM(above_min_byte_seconds & 1048575), "
        "SUM(measured_us), SUM(missing_us) FROM usage JOIN vm ON vm.id = usage.vm "
        "WHERE hour >= ?1 AND hour < ?2 GROUP BY vm.id");
    if (!select) {
        return select.error();
    }
    select->bind(1, seconds_of(period.since)).bind(2, seconds_of(period.until));
    UsageTotals totals;
    while (true) {
        const Result<bool> row = select->step();
        if (!row) {
            return row.error();
        }
        if (!*row) {
            break;
        }
        totals[select->text(0)] = {select->text(1),
                                   {from_columns(*select, 2, 3), from_columns(*select, 4, 5),
                                    Micros(select->integer(6)), Micros(select->integer(7))}};
    }
    if (const Status gaps = add_gaps(period, totals); !gaps) {
        return gaps.error();
    }
    return totals;
}

Status SqliteStore::add_gaps(const UsagePeriod& period, UsageTotals& totals) {
    Result<Statement> select = database_->prepare(
        "SELECT uuid, name, SUM(MIN(to_us, ?2) - MAX(from_us, ?1)) FROM gap "
        "JOIN vm ON vm.id = gap.vm WHERE to_us > ?1 AND from_us < ?2 GROUP BY vm.id");
    if (!select) {
        return select.error();
    }
    select->bind(1, micros_of(period.since)).bind(2, micros_of(period.until));
    while (true) {
        const Result<bool> row = select->step();
        if (!row) {
            return row.error();
        }
        if (!*row) {
            return {};
        }
        UsageTotal& total = totals[select->text(0)];
        total.name = select->text(1);
        total.usage.missing += Micros(select->integer(2));
    }
}

}  // namespace acma::host
