// SPDX-License-Identifier: Apache-2.0
#include "host-controller/meter/sqlite.h"

#include <cerrno>
#include <cstring>

#include <sqlite3.h>

namespace acma::host::sqlite {

namespace {
// Another program may read the file, and holds a lock for moments only.
constexpr int k_patience_ms = 2000;

ErrorCode code_of(int result) {
    switch (result & 0xff) {
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return ErrorCode::busy;
        case SQLITE_PERM:
        case SQLITE_READONLY:
        case SQLITE_AUTH:
            return ErrorCode::permission;
        default:
            return ErrorCode::io;
    }
}

Error error_of(sqlite3* database) {
    return Error{code_of(sqlite3_extended_errcode(database)), sqlite3_errmsg(database)};
}
}  // namespace

// --- Statement ------------------------------------------------------------------------------

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
    sqlite3_finalize(statement);
}

// A parameter that is not bound is NULL, which no column of ours takes: step() says so.
Statement& Statement::bind(int parameter, int64_t value) {
    (void)sqlite3_bind_int64(statement_.get(), parameter, value);
    return *this;
}

Statement& Statement::bind(int parameter, std::string_view text) {
    (void)sqlite3_bind_text64(statement_.get(), parameter, text.data(), text.size(),
                              SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
}

Statement& Statement::bind_null(int parameter) {
    (void)sqlite3_bind_null(statement_.get(), parameter);
    return *this;
}

Result<bool> Statement::step() {
    const int result = sqlite3_step(statement_.get());
    if (result == SQLITE_ROW) {
        return true;
    }
    if (result != SQLITE_DONE) {
        const Error error = error_of(sqlite3_db_handle(statement_.get()));
        sqlite3_reset(statement_.get());
        return error;
    }
    sqlite3_reset(statement_.get());
    return false;
}

Status Statement::run() {
    while (true) {
        const Result<bool> row = step();
        if (!row) {
            return row.error();
        }
        if (!*row) {
            return {};
        }
    }
}

int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(statement_.get(), column);
}

std::string Statement::text(int column) const {
    const unsigned char* const text = sqlite3_column_text(statement_.get(), column);
    return text == nullptr ? std::string() : reinterpret_cast<const char*>(text);
}

bool Statement::is_null(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

// --- Database -------------------------------------------------------------------------------

void Database::Close::operator()(sqlite3* database) const {
    sqlite3_close_v2(database);
}

Result<Database> Database::open(const std::string& path) {
    sqlite3* handle = nullptr;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    const int result = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
    Database database(handle);
    if (handle == nullptr) {
        return Error{ErrorCode::io, "out of memory"};
    }
    if (result != SQLITE_OK) {
        // "unable to open database file" is all that SQLite says of a directory that is not there.
        const int reason = sqlite3_system_errno(handle);
        return reason == 0 ? error_of(handle) : error_from_errno(reason, "open");
    }
    sqlite3_extended_result_codes(handle, 1);
    sqlite3_busy_timeout(handle, k_patience_ms);
    return database;
}

Result<Statement> Database::prepare(std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(database_.get(), sql.data(), static_cast<int>(sql.size()), &statement,
                           nullptr) != SQLITE_OK) {
        return error_of(database_.get());
    }
    return Statement(statement);
}

Status Database::run(const char* sql) {
    if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
        return error_of(database_.get());
    }
    return {};
}

Result<int64_t> Database::integer(std::string_view sql) {
    Result<Statement> statement = prepare(sql);
    if (!statement) {
        return statement.error();
    }
    const Result<bool> row = statement->step();
    if (!row) {
        return row.error();
    }
    return *row ? statement->integer(0) : 0;
}

int64_t Database::changes() const {
    return sqlite3_changes(database_.get());
}

bool Database::read_only() const {
    return sqlite3_db_readonly(database_.get(), "main") == 1;
}

bool Database::moved() const {
    int moved = 0;
    const int result =
        sqlite3_file_control(database_.get(), "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    return result == SQLITE_OK && moved != 0;
}

}  // namespace acma::host::sqlite
